/* How values lie in memory, as types: where an element is, how it is read, and a loop over all
 * physical elements of a result, one thread each, that writes padding lanes as zeros. */
#ifndef NINC_MAP_CUH
#define NINC_MAP_CUH

/* [N][H][W][CP], of which C channels are used; [N][K] with H = W = 1, [N] with C = 1 too. */
template <int N_, int H_, int W_, int C_, int CP_> struct Map {
    static constexpr int N = N_, H = H_, W = W_, C = C_, CP = CP_;
    static constexpr i64 SIZE = (i64)N * H * W * CP;

    template <class Element>
    static NINC_MEMBER float read(const Element *map, int n, int h, int w, int c)
    {
        return to_float(map[(((i64)n * H + h) * W + w) * CP + c]);
    }

    /* map[n][h][w][c] = value(n, h, w, c) */
    template <class Element, class Value>
    static NINC_MEMBER void each(Element *map, const Value &value)
    {
        i64 at = thread_element(), pixel = at / CP;
        int c = (int)(at % CP);
        if (at >= SIZE)
            return;
        if (c < C)
            put(map + at, value((int)(pixel / (H * W)), (int)(pixel / W % H), (int)(pixel % W), c));
        else
            put(map + at, 0);
    }
};

/* The same of numbers below 16, two channels a byte, the even one in the low half. */
template <int N_, int H_, int W_, int C_> struct Nibbles {
    static constexpr int N = N_, H = H_, W = W_, C = C_, BYTES = (C + 1) / 2;

    static NINC_MEMBER int read(const u8 *map, int n, int h, int w, int c)
    {
        return map[(((i64)n * H + h) * W + w) * BYTES + c / 2] >> c % 2 * 4 & 15;
    }

    template <class Value> static NINC_MEMBER void each(u8 *map, const Value &value)
    {
        Map<N, H, W, BYTES, BYTES>::each(map, [&](int n, int h, int w, int byte) {
            int c = 2 * byte, high = c + 1 < C ? value(n, h, w, c + 1) : 0;
            return value(n, h, w, c) | high << 4;
        });
    }
};

/* A filter as the checkpoint has it: [O][I][R][S]. */
template <int O_, int I_, int R_, int S_> struct Oihw {
    static constexpr int O = O_, I = I_, R = R_, S = S_;

    template <class Element>
    static NINC_MEMBER float read(const Element *filter, int o, int i, int r, int s)
    {
        return Map<O, I, R, S, S>::read(filter, o, i, r, s);
    }

    /* filter[o][i][r][s] = value(o, i, r, s) */
    template <class Element, class Value>
    static NINC_MEMBER void each(Element *filter, const Value &value)
    {
        Map<O, I, R, S, S>::each(filter, value);
    }
};

/* A filter as the kernels read it: [O][R][S][IP], of which I input channels are used. */
template <int O_, int I_, int R_, int S_, int IP_> struct Ohwi {
    static constexpr int O = O_, I = I_, R = R_, S = S_, IP = IP_;

    template <class Element>
    static NINC_MEMBER float read(const Element *filter, int o, int i, int r, int s)
    {
        return Map<O, R, S, I, IP>::read(filter, o, r, s, i);
    }

    template <class Element, class Value>
    static NINC_MEMBER void each(Element *filter, const Value &value)
    {
        Map<O, R, S, I, IP>::each(filter,
                                  [&](int o, int r, int s, int i) { return value(o, i, r, s); });
    }
};

/* A filter read with inputs and outputs exchanged and both kernel axes reversed. */
template <class F> struct Transposed {
    static constexpr int O = F::I, I = F::O, R = F::R, S = F::S;

    template <class Element>
    static NINC_MEMBER float read(const Element *filter, int o, int i, int r, int s)
    {
        return F::read(filter, i, o, R - 1 - r, S - 1 - s);
    }
};

#endif
