/* The compiler for convolutional networks as a C library. Made by cbindgen from capi/src/lib.rs. */

#ifndef CNNC_H
#define CNNC_H

#include <stddef.h>
#include <stdint.h>

/*
 The two ends of a network.
 */
typedef enum cnnc_side {
  /*
   What it takes.
   */
  CNNC_SIDE_INPUT = 0,
  /*
   What it gives.
   */
  CNNC_SIDE_OUTPUT = 1,
} cnnc_side;

/*
 A compiled network with its weights.
 */
typedef struct cnnc_model cnnc_model;

/*
 How a network is compiled. Zeros and null pointers stand for what is usual.
 */
typedef struct cnnc_options {
  /*
   Samples of a run; 0 is 1.
   */
  size_t batch;
  /*
   Threads of a run; 0 takes all that the machine has.
   */
  size_t threads;
  /*
   The seed of initial weights.
   */
  uint64_t seed;
  /*
   The instruction set by its name, `native` when null.
   */
  const char *cpu;
} cnnc_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 The version of the compiler.
 */
const char *cnnc_version(void);

/*
 What the last call that failed on this thread said; empty before any did. It stays until the next one fails.
 */
const char *cnnc_last_error(void);

/*
 Compiles a program that uses no other files but `std`; its net `net`, or the last one when that is null. Weights begin at
 random. Null when something is wrong.

 # Safety
 `text` ends in a zero byte, `net` too unless it is null, `options` is null or points to options.
 */
struct cnnc_model *cnnc_compile(const char *text,
                                const char *net,
                                const struct cnnc_options *options);

/*
 As `cnnc_compile`, of the program in a file, which may use others beside it, or of an ONNX model (`.onnx`), whose weights are its own.

 # Safety
 As `cnnc_compile`.
 */
struct cnnc_model *cnnc_compile_file(const char *path,
                                     const char *net,
                                     const struct cnnc_options *options);

/*
 Frees a model; a null pointer is none.

 # Safety
 `model` is null or came from `cnnc_compile` or `cnnc_compile_file`, nobody uses it, and it was not freed before.
 */
void cnnc_free(struct cnnc_model *model);

/*
 Loads all weights from a safetensors file. 0, or 1 when something does not fit; then nothing is changed.

 # Safety
 `model` is a model that nobody else uses meanwhile, `path` ends in a zero byte.
 */
int32_t cnnc_load_weights(struct cnnc_model *model, const char *path);

/*
 How many inputs or outputs there are; `side` is a `cnnc_side`. 0 for a null pointer.

 # Safety
 `model` is null or a model.
 */
size_t cnnc_ports(const struct cnnc_model *model, int32_t side);

/*
 The name of an input or output; it lives as long as the model. Null when there is none.

 # Safety
 `model` is null or a model.
 */
const char *cnnc_port_name(const struct cnnc_model *model, int32_t side, size_t index);

/*
 The elements of an input or output: the product of its extents. 0 when there is none.

 # Safety
 `model` is null or a model.
 */
size_t cnnc_port_len(const struct cnnc_model *model, int32_t side, size_t index);

/*
 How many axes an input or output has. 0 when there is none.

 # Safety
 `model` is null or a model.
 */
size_t cnnc_port_rank(const struct cnnc_model *model, int32_t side, size_t index);

/*
 The extent of an axis, outermost first, and its name into `name` unless that is null; it lives as long as the model. 0 when
 there is none.

 # Safety
 `model` is null or a model, `name` is null or may be written.
 */
size_t cnnc_port_axis(const struct cnnc_model *model,
                      int32_t side,
                      size_t index,
                      size_t axis,
                      const char **name);

/*
 Runs the network once: `inputs` and `outputs` hold a pointer per port, in order, each to as many elements as
 `cnnc_port_len` says, the last axis fastest. 0, or 1 when the run did not take place.

 # Safety
 `model` is a model, the pointers are what the text above says, and outputs overlap nothing.
 */
int32_t cnnc_run(const struct cnnc_model *model, const float *const *inputs, float *const *outputs);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CNNC_H */
