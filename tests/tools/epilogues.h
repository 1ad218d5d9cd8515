/* What ninc emits between ninc_map.h and the rest of the CPU device library for a model without
 * pointwise ops. */
enum { EPILOGUE_NONE };

INLINE void store_epilogue(const int epilogue, Element *to, Vector x, Beside beside)
{
    (void)epilogue;
    (void)beside;
    store_map(to, x);
}

#define WITH_EPILOGUE(NUMBER, F, ...) \
    do {                              \
        (void)(NUMBER);               \
        F(EPILOGUE_NONE, __VA_ARGS__); \
    } while (0)
