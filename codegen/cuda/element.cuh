/* Neighbouring elements of a map between memory and registers, in accesses as wide as they can be.
 * Computing is in float; a map's elements are float or bf16. */
#ifndef NINC_ELEMENT_CUH
#define NINC_ELEMENT_CUH

/* Elements of 16 bytes. */
template <class Element> struct Chunk {
    static constexpr int SIZE = 16 / (int)sizeof(Element);
};

/* ---- chunks between memory and registers ---- */

NINC_DEVICE void store_chunk(float *to, const float (&v)[4])
{
    uint4 words = {bits_of_float(v[0]), bits_of_float(v[1]), bits_of_float(v[2]),
                   bits_of_float(v[3])};
    *(uint4 *)to = words;
}

NINC_DEVICE void store_chunk(bf16 *to, const bf16 (&v)[8])
{
    uint4 words = {v[0].bits | (u32)v[1].bits << 16, v[2].bits | (u32)v[3].bits << 16,
                   v[4].bits | (u32)v[5].bits << 16, v[6].bits | (u32)v[7].bits << 16};
    *(uint4 *)to = words;
}

NINC_DEVICE void load_chunk(float (&v)[4], const float *from)
{
    uint4 words = *(const uint4 *)from;
    v[0] = float_of_bits(words.x), v[1] = float_of_bits(words.y);
    v[2] = float_of_bits(words.z), v[3] = float_of_bits(words.w);
}

NINC_DEVICE void load_chunk(float (&v)[8], const bf16 *from)
{
    uint4 words = *(const uint4 *)from;
    u32 word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[2 * i] = float_of_bits(word[i] << 16);
        v[2 * i + 1] = float_of_bits(word[i] & 0xffff0000);
    }
}

/* V neighbours of a row of results; `to` is a multiple of V elements. */
NINC_DEVICE void store_row(float *to, const float (&v)[1]) { *to = v[0]; }
NINC_DEVICE void store_row(bf16 *to, const float (&v)[1]) { *to = to_bf16(v[0]); }
NINC_DEVICE void store_row(bf16 *to, const float (&v)[2]) { *(u32 *)to = pack_bf16(v[0], v[1]); }
NINC_DEVICE void store_row(float *to, const float (&v)[4]) { store_chunk(to, v); }

NINC_DEVICE void store_row(float *to, const float (&v)[2])
{
    uint2 words = {bits_of_float(v[0]), bits_of_float(v[1])};
    *(uint2 *)to = words;
}

NINC_DEVICE void store_row(bf16 *to, const float (&v)[4])
{
    uint2 words = {pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3])};
    *(uint2 *)to = words;
}

/* The same, read. */
NINC_DEVICE void load_row(float (&v)[1], const float *from) { v[0] = *from; }
NINC_DEVICE void load_row(float (&v)[1], const bf16 *from) { v[0] = to_float(*from); }
NINC_DEVICE void load_row(float (&v)[4], const float *from) { load_chunk(v, from); }

NINC_DEVICE void load_row(float (&v)[2], const float *from)
{
    uint2 words = *(const uint2 *)from;
    v[0] = float_of_bits(words.x), v[1] = float_of_bits(words.y);
}

NINC_DEVICE void load_row(float (&v)[2], const bf16 *from)
{
    u32 word = *(const u32 *)from;
    v[0] = float_of_bits(word << 16), v[1] = float_of_bits(word & 0xffff0000);
}

NINC_DEVICE void load_row(float (&v)[4], const bf16 *from)
{
    uint2 words = *(const uint2 *)from;
    v[0] = float_of_bits(words.x << 16), v[1] = float_of_bits(words.x & 0xffff0000);
    v[2] = float_of_bits(words.y << 16), v[3] = float_of_bits(words.y & 0xffff0000);
}

/* 8 of them: of a map whose channels are rounded up to 8. */
NINC_DEVICE void load_row(float (&v)[8], const bf16 *from) { load_chunk(v, from); }

NINC_DEVICE void load_row(float (&v)[8], const float *from)
{
    float low[4], high[4];
    load_chunk(low, from), load_chunk(high, from + 4);
#pragma unroll
    for (int i = 0; i < 4; i++)
        v[i] = low[i], v[i + 4] = high[i];
}

NINC_DEVICE void store_row(bf16 *to, const float (&v)[8])
{
    uint4 words = {pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]),
                   pack_bf16(v[6], v[7])};
    *(uint4 *)to = words;
}

NINC_DEVICE void store_row(float *to, const float (&v)[8])
{
    float low[4] = {v[0], v[1], v[2], v[3]}, high[4] = {v[4], v[5], v[6], v[7]};
    store_chunk(to, low), store_chunk(to + 4, high);
}

/* ---- epilogues ---- */

/* An epilogue is a chain of pointwise ops on results, before they are rounded and stored: this one
 * of none, and those of the model, which its text defines. A chain reads MAPS maps of the shape of
 * the result at the same place, and scalars. */
struct NoChain {
    static constexpr int MAPS = 0;
    template <int V> NINC_MEMBER void apply(float (&)[V], const float (&)[1][V]) const {}
};

/* The maps' elements from `at` on. */
template <int MAPS> struct Beside {
    template <class Chain, int V, class Offset>
    static NINC_MEMBER void load(const Chain &chain, float (&m)[MAPS][V], Offset at)
    {
#pragma unroll
        for (int i = 0; i < MAPS; i++)
            load_row(m[i], chain.map[i] + at);
    }
};

template <> struct Beside<0> {
    template <class Chain, int V, class Offset>
    static NINC_MEMBER void load(const Chain &, float (&)[1][V], Offset) {}
};

/* x: V neighbouring results, of which the first lies at `at`. */
template <class Chain, int V, class Offset>
NINC_DEVICE void apply_chain(Chain chain, float (&x)[V], Offset at)
{
    float m[Chain::MAPS > 0 ? Chain::MAPS : 1][V];
    Beside<Chain::MAPS>::load(chain, m, at);
    chain.apply(x, m);
}

/* ---- octets: 8 channels of a pixel ---- */

NINC_DEVICE void fill_octet(float (&v)[8], float value)
{
#pragma unroll
    for (int e = 0; e < 8; e++)
        v[e] = value;
}

/* `offset`: of the octet in a map whose pixels have C channels of CP; `channel`: its first one.
 * Lanes past C are stored as zeros. */
template <int C, int CP, class Element>
NINC_DEVICE void store_octet(Element *map, i64 offset, int channel, const float (&v)[8])
{
    float used[8];
#pragma unroll
    for (int e = 0; e < 8; e++)
        used[e] = C == CP || channel + e < C ? v[e] : 0.0f;
    store_row(map + offset, used);
}

/* The same of results with an epilogue. */
template <int C, int CP, class Element, class Chain>
NINC_DEVICE void store_octet(Element *map, const Chain &chain, i64 offset, int channel,
                             float (&v)[8])
{
    apply_chain(chain, v, offset);
    store_octet<C, CP>(map, offset, channel, v);
}

#endif
