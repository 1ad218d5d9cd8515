/* Square roots of vectors, for what normalizes. */

INLINE Vector root_vector(Vector v)
{
#if defined(__AVX512F__)
    return (Vector)_mm512_sqrt_ps((__m512)v);
#elif defined(__AVX2__)
    return (Vector)_mm256_sqrt_ps((__m256)v);
#elif defined(__SSE2__)
    return (Vector)_mm_sqrt_ps((__m128)v);
#else
    Vector root;
    for (int i = 0; i < LANES_A_PART; i++)
        root[i] = sqrtf(v[i]);
    return root;
#endif
}
