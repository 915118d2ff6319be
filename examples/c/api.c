/* Compiles a program while this one runs, with the compiler as a C library: shows its inputs and outputs, runs it on zeros.
 *
 *   cargo build --release -p cnnc-capi
 *   make -C examples/c api && examples/c/build/api examples/digits.cnn [weights.safetensors] */
#include <stdio.h>
#include <stdlib.h>

#include "cnnc.h"

static int wrong(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, cnnc_last_error());
    return EXIT_FAILURE;
}

/* A buffer of zeros for each port of a side. */
static float **buffers(const cnnc_model *model, int side)
{
    size_t count = cnnc_ports(model, side);
    float **list = calloc(count ? count : 1, sizeof *list);
    for (size_t i = 0; list && i < count; i++) {
        printf("%s %s [", side == CNNC_SIDE_INPUT ? "input" : "output", cnnc_port_name(model, side, i));
        for (size_t axis = 0; axis < cnnc_port_rank(model, side, i); axis++) {
            const char *name;
            size_t extent = cnnc_port_axis(model, side, i, axis, &name);
            printf("%s%s: %zu", axis ? ", " : "", name, extent);
        }
        printf("]\n");
        list[i] = calloc(cnnc_port_len(model, side, i), sizeof **list);
        if (!list[i])
            return NULL;
    }
    return list;
}

int main(int argc, char **argv)
{
    cnnc_options options = {0};
    cnnc_model *model;
    float **inputs, **outputs;

    if (argc < 2) {
        fprintf(stderr, "usage: %s program.cnn [weights.safetensors]\n", argv[0]);
        return EXIT_FAILURE;
    }
    printf("cnnc %s\n", cnnc_version());
    options.threads = 1;
    model = cnnc_compile_file(argv[1], NULL, &options);
    if (!model)
        return wrong(argv[1]);
    if (argc > 2 && cnnc_load_weights(model, argv[2]) != 0)
        return wrong(argv[2]);
    inputs = buffers(model, CNNC_SIDE_INPUT);
    outputs = buffers(model, CNNC_SIDE_OUTPUT);
    if (!inputs || !outputs) {
        perror("buffers");
        return EXIT_FAILURE;
    }
    if (cnnc_run(model, (const float *const *)inputs, outputs) != 0)
        return wrong("run");
    for (size_t i = 0; i < cnnc_port_len(model, CNNC_SIDE_OUTPUT, 0); i++)
        printf("%s%g", i ? " " : "", (double)outputs[0][i]);
    printf("\n");
    for (size_t i = 0; i < cnnc_ports(model, CNNC_SIDE_INPUT); i++)
        free(inputs[i]);
    for (size_t i = 0; i < cnnc_ports(model, CNNC_SIDE_OUTPUT); i++)
        free(outputs[i]);
    free(inputs);
    free(outputs);
    cnnc_free(model);
    return EXIT_SUCCESS;
}
