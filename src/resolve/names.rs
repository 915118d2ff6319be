//! Which known name an unknown one was meant to be: the same letters in another case, the word of another library for the
//! same thing, or the nearest by edit distance.

use crate::support::diag::nearest;

/// Words of PyTorch, Keras and ONNX, and what the language calls the same thing.
const FOREIGN: &[(&str, &str)] = &[
    // operations
    ("averagepooling2d", "avgpool"),
    ("avgpool2d", "avgpool"),
    ("adaptiveavgpool2d", "avgpool"),
    ("batchnorm1d", "batchnorm"),
    ("batchnorm2d", "batchnorm"),
    ("batchnorm3d", "batchnorm"),
    ("batchnormalization", "batchnorm"),
    ("bn", "batchnorm"),
    ("cat", "concat"),
    ("concatenate", "concat"),
    ("conv1d", "conv"),
    ("conv2d", "conv"),
    ("conv3d", "conv"),
    ("conv2dtranspose", "unconv"),
    ("convtranspose2d", "unconv"),
    ("conv_transpose", "unconv"),
    ("deconv", "unconv"),
    ("fc", "dense"),
    ("fully_connected", "dense"),
    ("linear", "dense"),
    ("maxpooling2d", "maxpool"),
    ("maxpool2d", "maxpool"),
    ("max_pool", "maxpool"),
    ("pixel_shuffle", "depth_to_space"),
    ("pool", "maxpool"),
    ("swish", "silu"),
    ("transpose_conv", "unconv"),
    // arguments
    ("channels", "out"),
    ("dilation", "dilate"),
    ("filters", "out"),
    ("group", "groups"),
    ("kernel_size", "kernel"),
    ("out_channels", "out"),
    ("padding", "pad"),
    ("pool_size", "kernel"),
    ("strides", "stride"),
    ("units", "out"),
    ("use_bias", "bias"),
    ("lr", "rate"),
    ("learning_rate", "rate"),
    ("weight_decay", "decay"),
    // words
    ("kaiming", "he"),
    ("kaiming_normal", "he"),
    ("xavier", "glorot"),
    ("xavier_uniform", "glorot"),
    // axes and types
    ("channels", "c"),
    ("depth", "d"),
    ("height", "h"),
    ("rows", "h"),
    ("width", "w"),
    ("cols", "w"),
    ("boolean", "bool"),
    ("integer", "int"),
    ("number", "float"),
    ("string", "str"),
    ("tensor", "any"),
    // settings of `train`
    ("batch_size", "batch"),
    ("criterion", "loss"),
    ("dataset", "data"),
    ("scheduler", "schedule"),
];

/// The name among `known` that `name` was meant to be.
pub(super) fn meant<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let known: Vec<&'n str> = known.into_iter().collect();
    let lower = name.to_lowercase();
    let same = known.iter().find(|k| k.to_lowercase() == lower);
    let foreign = || {
        FOREIGN
            .iter()
            .filter(|(word, _)| *word == lower)
            .find_map(|(_, ours)| known.iter().find(|k| *k == ours))
    };
    same.or_else(foreign).copied().or_else(|| nearest(name, known.iter().copied()))
}
