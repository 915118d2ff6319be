//! The command line, through the public API only: one file per command.
