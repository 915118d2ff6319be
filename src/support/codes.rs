//! Every diagnostic code, declared once: its constant, its title and its page (`cnnc explain CODE`), which is the file
//! `docs/errors/CODE.md`. A code without a page does not compile.

use super::diag::Code;

/// Declares codes: a constant each, and the lists of all with titles and pages.
macro_rules! codes {
    ($($name:ident $title:literal;)*) => {
        $(#[doc = $title] pub const $name: Code = Code(stringify!($name));)*

        /// Every code with its title.
        pub const ALL: &[(Code, &str)] = &[$(($name, $title)),*];

        /// The page of a code: what it means, a program that has it, the same program mended.
        pub fn page(code: Code) -> Option<&'static str> {
            match code.0 {
                $(stringify!($name) => Some(include_str!(concat!("../../docs/errors/", stringify!($name), ".md"))),)*
                _ => None,
            }
        }
    };
}

codes! {
    E0001 "the text does not parse";
    E0002 "a number or extent that cannot be written so";
    E0003 "nesting too deep";
    E0004 "the file is not UTF-8 text or is too large";
    E0101 "an unknown name";
    E0102 "a name defined twice";
    E0103 "a module that cannot be read";
    E0104 "modules that use each other in a cycle";
    E0105 "an unknown argument";
    E0106 "a missing argument";
    E0107 "an argument of the wrong type, or too many";
    E0108 "a block or constant that needs itself";
    E0109 "an operator on values it does not take";
    E0110 "arithmetic without a result";
    E0111 "a tensor where a static value is needed, or the reverse";
    E0112 "an unknown field";
    E0113 "an index out of range";
    E0114 "a value that cannot be called";
    E0115 "a program too large";
    E0116 "a setting that names no constant";
    E0201 "a shape that is not the declared one";
    E0202 "a kernel larger than its input";
    E0203 "a list whose length is not the rank of the grid";
    E0204 "an argument out of range";
    E0205 "grids with different axes";
    E0206 "a wrong number of channels";
    E0207 "a malformed shape";
    E0208 "a tensor too large";
    E0209 "a grid of a rank the operation does not take";
    E0210 "an elementwise operation on unequal extents";
    E0211 "a reshape that changes the number of elements";
    E0212 "a concatenation of unequal extents";
    E0213 "a crop or pad beyond the tensor";
    E0214 "a transposed convolution that cannot give the size";
    E0215 "an instance used at another shape than its first";
    E0301 "a table with a wrong row";
    E0302 "a table that does not fit the layer's channels";
    E0303 "groups that do not divide the channels";
    E0304 "kinds of sharing or links that exclude each other";
    E0401 "padding that cannot be";
    E0402 "a pooling window wholly in the padding";
    E0403 "a pooling grid larger than the grid";
    E0501 "fixed or initial weights of the wrong size";
    E0502 "a weight file that cannot be read";
    E0503 "a weight that the file lacks, or has too much";
    E0504 "a weight of another shape than the file's";
    E0505 "an input file that does not fit";
    E0601 "an unknown training setting";
    E0602 "a training, test or budget item about an unknown net";
    E0603 "a training setting of the wrong kind";
    E0701 "an assertion that is not a comparison of facts";
    E0702 "a budget on an unknown fact";
    E0801 "a target that this machine or build does not offer";
    E0901 "a file that is no sound ONNX model";
    E0902 "an operation of an ONNX model that is not supported";
    E0903 "an input of an ONNX model whose extents are not known";
    E0904 "elements of an ONNX model that lie in a file that cannot be read";
    E0905 "a network that ONNX or the language cannot say";
    W1001 "a strided layer drops rows or columns";
    W1002 "a stride larger than the kernel skips positions";
    W1003 "a transposed convolution whose kernel is no multiple of its stride";
    W1004 "an input map that no link uses";
    W1005 "a bias right before batchnorm";
    W1006 "softmax before a loss that takes logits";
    W1007 "a receptive field larger than the image";
    W1008 "an even kernel with same padding shifts by half a position";
    W1009 "a value that nothing uses";
}
