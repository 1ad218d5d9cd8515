/* The forward pass as a library: what the functions of an emitted MODEL.h come down to, for the
 * network of the plan (ninc_model). What they take, return and promise stands in
 * codegen/library/network.h.in. Emitted text carries a copy of this header, so it includes nothing
 * of ours. */
#ifndef NINC_LIBRARY_H
#define NINC_LIBRARY_H

#include <stddef.h>

typedef struct Library Library;

Library *library_create(const char *weights, const char *device, int threads, char *error,
                        size_t error_size);
int library_forward(Library *l, const unsigned char *images, int count, float *logits);
const char *library_error(Library *l);
void library_free(Library *l);

#endif
