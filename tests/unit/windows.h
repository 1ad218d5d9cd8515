/* Windows of tests. */
#ifndef NINC_TEST_WINDOWS_H
#define NINC_TEST_WINDOWS_H

/* Kernel, stride, padding, rows before columns, and ceil mode: an initializer, a value. */
#define W(kernel_h_, kernel_w_, stride_h_, stride_w_, padding_h_, padding_w_, ceil)                \
    {.kernel_h = (kernel_h_), .kernel_w = (kernel_w_), .stride_h = (stride_h_),                    \
     .stride_w = (stride_w_), .padding_h = (padding_h_), .padding_w = (padding_w_),                \
     .ceil_mode = (ceil)}
#define WINDOW(...) ((Window)W(__VA_ARGS__))

#endif
