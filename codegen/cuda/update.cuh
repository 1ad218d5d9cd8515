/* Kernels over parameters: the optimizer, and filters of another precision. A parameter begins a
 * new block; `block` counts from there. */
#ifndef NINC_UPDATE_CUH
#define NINC_UPDATE_CUH

/* Neighbouring elements that a thread updates. */
static constexpr int UPDATE_WIDTH = 4;

/* A gradient in `copies` parts, one behind the other. */
struct Parts {
    const float *from;
    int copies;
};

/* The sum of the parts, each of COUNT elements, at elements at .. at + V - 1. */
template <int COUNT, int V> NINC_DEVICE void sum_parts(float (&sum)[V], Parts parts, int at)
{
    load_row(sum, parts.from + at);
#pragma unroll 8
    for (int i = 1; i < parts.copies; i++) {
        float part[V];
        load_row(part, parts.from + (i64)i * COUNT + at);
#pragma unroll
        for (int e = 0; e < V; e++)
            sum[e] += part[e];
    }
}

/* Elements at .. at + V - 1. `optimizer`(state, gradient) sets the state, which is the parameter
 * and its moments, one element each. */
template <int COUNT, int V, class Optimizer, int STATES, int GRADIENTS>
NINC_DEVICE void update_row(int at, const Optimizer &optimizer, float *const (&state)[STATES],
                            const Parts (&gradient)[GRADIENTS])
{
    float s[STATES][V], g[GRADIENTS][V];
#pragma unroll
    for (int i = 0; i < STATES; i++)
        load_row(s[i], state[i] + at);
#pragma unroll
    for (int i = 0; i < GRADIENTS; i++)
        sum_parts<COUNT>(g[i], gradient[i], at);
#pragma unroll
    for (int e = 0; e < V; e++) {
        float now[STATES], by[GRADIENTS];
#pragma unroll
        for (int i = 0; i < STATES; i++)
            now[i] = s[i][e];
#pragma unroll
        for (int i = 0; i < GRADIENTS; i++)
            by[i] = g[i][e];
        optimizer(now, by);
#pragma unroll
        for (int i = 0; i < STATES; i++)
            s[i][e] = now[i];
    }
#pragma unroll
    for (int i = 0; i < STATES; i++)
        store_row(state[i] + at, s[i]);
}

/* A parameter of COUNT elements; in vectors where the gradient's parts allow it. */
template <int COUNT, class Optimizer, int STATES, int GRADIENTS>
NINC_DEVICE void update_parameter(int block, const Optimizer &optimizer,
                                  float *const (&state)[STATES],
                                  const Parts (&gradient)[GRADIENTS])
{
    int at = (block * BLOCK + (int)threadIdx.x) * UPDATE_WIDTH;
    if (COUNT % UPDATE_WIDTH == 0) {
        if (at < COUNT)
            update_row<COUNT, UPDATE_WIDTH>(at, optimizer, state, gradient);
        return;
    }
#pragma unroll 1
    for (int i = at; i < at + UPDATE_WIDTH && i < COUNT; i++)
        update_row<COUNT, 1>(i, optimizer, state, gradient);
}

/* `to` = `from` in another precision, all COUNT physical elements. */
template <int COUNT, class From, class To>
NINC_DEVICE void cast_filter(int block, const From *from, To *to)
{
    int at = block * BLOCK + (int)threadIdx.x;
    if (at < COUNT)
        put(to + at, to_float(from[at]));
}

#endif
