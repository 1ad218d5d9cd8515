/* u8 images to maps. */
#ifndef NINC_IMAGE_CUH
#define NINC_IMAGE_CUH

/* Where a resized axis reads: F.interpolate(mode='bilinear', align_corners=False). Position `at` of
 * OUT lies `part` of the way from `low` to `high` of IN. */
template <int IN, int OUT> struct Bilinear {
    int low, high;
    float part;

    NINC_MEMBER explicit Bilinear(int at)
    {
        float position = ((float)at + 0.5f) * ((float)IN / (float)OUT) - 0.5f;
        low = position > 0.0f ? (int)position : 0;
        low = low < IN - 1 ? low : IN - 1;
        high = low < IN - 1 ? low + 1 : low;
        part = position > 0.0f && low < high ? position - (float)low : 0.0f;
    }

    NINC_MEMBER float mix(float a, float b) const { return (1.0f - part) * a + part * b; }
};

/* y = image * scale + shift, a channel each (Pixel::scale, Pixel::shift). X: the u8 image. */
template <class X, class Y, class Pixel, class Element>
NINC_DEVICE void normalize_image(const u8 *image, Element *y)
{
    Y::each(y, [=](int n, int h, int w, int c) {
        return X::read(image, n, h, w, c) * Pixel::scale(c) + Pixel::shift(c);
    });
}

/* The same, interpolated from X's map to Y's. */
template <class X, class Y, class Pixel, class Element>
NINC_DEVICE void resize_image(const u8 *image, Element *y)
{
    Y::each(y, [=](int n, int h, int w, int c) {
        Bilinear<X::H, Y::H> down(h);
        Bilinear<X::W, Y::W> across(w);
        float above = across.mix(X::read(image, n, down.low, across.low, c),
                                 X::read(image, n, down.low, across.high, c));
        float below = across.mix(X::read(image, n, down.high, across.low, c),
                                 X::read(image, n, down.high, across.high, c));
        return down.mix(above, below) * Pixel::scale(c) + Pixel::shift(c);
    });
}

#endif
