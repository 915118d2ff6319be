//! Graph to loop nests, one step per fused group.
