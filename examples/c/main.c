/* Reads one handwritten digit, eight lines of eight shades 0..9, and says which it is. Without a file on the command line it
 * reads the one below. */
#include <stdio.h>
#include <stdlib.h>

#include "digits.h"

static const char *const SHOWN =
    "00279600"
    "00998900"
    "04500090"
    "05400050"
    "05300040"
    "06300060"
    "03808900"
    "00599300";

/* All memory that the network needs: the program decides where it is, here in its own data. */
static _Alignas(DIGITS_ALIGN) unsigned char memory[DIGITS_SELFTEST_BYTES];
_Static_assert(DIGITS_ARENA_BYTES <= DIGITS_SELFTEST_BYTES, "one region serves both");
_Static_assert(DIGITS_IMAGE_C == 1 && DIGITS_IMAGE_H == 8 && DIGITS_IMAGE_W == 8, "another network");

static int next_shade(FILE *file, const char **text)
{
    int c;
    do
        c = file ? getc(file) : *(*text)++;
    while (c == ' ' || c == '\n' || c == '\r');
    return c >= '0' && c <= '9' ? c - '0' : -1;
}

int main(int argc, char **argv)
{
    digits_image image;
    digits_out scores;
    const char *text = SHOWN;
    FILE *file = NULL;
    int status, best = 0;

    if (argc > 1 && !(file = fopen(argv[1], "r"))) {
        perror(argv[1]);
        return EXIT_FAILURE;
    }
    for (int h = 0; h < DIGITS_IMAGE_H; h++)
        for (int w = 0; w < DIGITS_IMAGE_W; w++) {
            int shade = next_shade(file, &text);
            if (shade < 0) {
                fprintf(stderr, "a digit is 8 lines of 8 shades, 0 to 9\n");
                return EXIT_FAILURE;
            }
            image[0][0][h][w] = (float)shade / 9.0f;
        }
    if (file)
        fclose(file);

    status = digits_selftest(memory);
    if (status != DIGITS_OK) {
        fprintf(stderr, "selftest: status %d\n", status);
        return EXIT_FAILURE;
    }
    status = digits_forward(&image[0][0][0][0], &scores[0][0], memory);
    if (status != DIGITS_OK) {
        fprintf(stderr, "forward: status %d\n", status);
        return EXIT_FAILURE;
    }
    printf("instruction set %d of %d\n", digits_target(), DIGITS_TARGETS);
    for (int k = 0; k < DIGITS_OUT_C; k++) {
        printf("%d %9.4f\n", k, (double)scores[0][k]);
        if (scores[0][k] > scores[0][best])
            best = k;
    }
    printf("this is a %d\n", best);
    return EXIT_SUCCESS;
}
