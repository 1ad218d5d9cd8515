/* Tensor layouts: hand offsets, that pack and unpack are inverses, and that no two elements share
 * an offset. */
#include "../../ir/ir.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static Tensor tensor_of(DType dtype, Shape shape, Layout layout)
{
    return (Tensor){dtype, shape, layout};
}

/* Every layout, with extents that are not multiples of its blocks. */
typedef struct Case {
    Shape shape;
    Layout layout;
    int64_t elements;
} Case;

static const Case cases[] = {
    {{0, {0}}, {.kind = LAYOUT_PLAIN}, 1},
    {{1, {5}}, {.kind = LAYOUT_PLAIN}, 5},
    {{4, {2, 3, 4, 5}}, {.kind = LAYOUT_PLAIN}, 120},
    {{4, {2, 3, 4, 5}}, {.kind = LAYOUT_NHWC}, 120},
    {{4, {2, 3, 4, 5}}, {.kind = LAYOUT_NHWC, .halo_h = 1, .halo_w = 2}, 2 * 5 * 8 * 5},
    {{4, {2, 3, 4, 5}}, {.kind = LAYOUT_NCHWC, .block = 4}, 2 * 2 * 3 * 4 * 4},
    {{4, {2, 3, 4, 16}}, {.kind = LAYOUT_NCHWC, .block = 16}, 2 * 3 * 4 * 16},
    {{4, {2, 3, 4, 17}},
     {.kind = LAYOUT_NCHWC, .block = 16, .halo_h = 2, .halo_w = 1},
     2 * 2 * 7 * 6 * 16},
    {{2, {3, 10}}, {.kind = LAYOUT_NCHWC, .block = 16}, 3 * 16},
    {{4, {5, 3, 2, 3}}, {.kind = LAYOUT_FILTER, .block = 2, .out_block = 4}, 2 * 2 * 2 * 3 * 2 * 4},
    {{4, {96, 1, 11, 11}}, {.kind = LAYOUT_FILTER, .block = 1, .out_block = 48}, 96 * 121},
    {{4, {5, 3, 2, 3}},
     {.kind = LAYOUT_FILTER, .block = 2, .out_block = 4, .pairs = true},
     2 * 2 * 2 * 3 * 2 * 4},
    {{4, {96, 1, 11, 11}},
     {.kind = LAYOUT_FILTER, .block = 1, .out_block = 48, .pairs = true},
     96 * 11 * 12},
    {{4, {5, 3, 2, 3}}, {.kind = LAYOUT_TAPS, .block = 2, .out_block = 4}, 2 * 3 * 2 * 2 * 2 * 4},
    {{4, {96, 1, 8, 8}}, {.kind = LAYOUT_TAPS, .block = 16, .out_block = 16}, 96 * 16 * 64},
    /* a block of zeros behind each row */
    {{4, {2, 3, 4, 5}}, {.kind = LAYOUT_HCNWC, .block = 4}, 3 * (2 * 2 * 4 + 1) * 4},
    {{4, {3, 36, 6, 33}}, {.kind = LAYOUT_HCNWC, .block = 16}, 36 * (3 * 3 * 6 + 1) * 16},
    {{4, {1, 4, 1, 16}}, {.kind = LAYOUT_HCNWC, .block = 16}, 4 * (1 + 1) * 16},
    {{1, {10}}, {.kind = LAYOUT_VECTOR, .block = 16}, 16},
    {{1, {33}}, {.kind = LAYOUT_VECTOR, .block = 16}, 48},
};

START_TEST(sizes_count_halo_and_padding)
{
    Tensor t = tensor_of(DT_F32, cases[_i].shape, cases[_i].layout);
    ck_assert_int_eq(tensor_elements(&t), cases[_i].elements);
}
END_TEST

START_TEST(packing_and_back_changes_nothing)
{
    Tensor t = tensor_of(DT_I32, cases[_i].shape, cases[_i].layout);
    int64_t logical = shape_elements(&t.shape), physical = tensor_elements(&t), zeros = 0;
    int32_t *in = xmalloc((size_t)logical * sizeof *in);
    int32_t *out = xmalloc((size_t)logical * sizeof *out);
    int32_t *packed = xmalloc((size_t)physical * sizeof *packed);
    for (int64_t i = 0; i < logical; i++)
        in[i] = (int32_t)i + 1;
    memset(packed, 0x55, (size_t)physical * sizeof *packed);
    tensor_pack(&t, in, packed);
    tensor_unpack(&t, packed, out);
    ck_assert_int_eq(memcmp(in, out, (size_t)logical * sizeof *in), 0);
    for (int64_t i = 0; i < physical; i++)
        zeros += packed[i] == 0;
    ck_assert_int_eq(zeros, physical - logical); /* each element once, zeros around them */
    free(in);
    free(out);
    free(packed);
}
END_TEST

/* An element of a layout and its offset, worked out by hand from the layout's definition. */
typedef struct Spot {
    Shape shape;
    Layout layout;
    int32_t at[TENSOR_MAX_RANK];
    int64_t offset;
} Spot;

static const Spot spots[] = {
    {{4, {2, 3, 4, 5}}, {.kind = LAYOUT_PLAIN}, {1, 2, 3, 4}, 119},
    {{4, {2, 3, 4, 5}},
     {.kind = LAYOUT_NHWC, .halo_h = 1, .halo_w = 2},
     {0, 0, 0, 0},
     (1 * 8 + 2) * 5},
    {{4, {2, 3, 4, 5}},
     {.kind = LAYOUT_NHWC, .halo_h = 1, .halo_w = 2},
     {1, 2, 3, 4},
     ((5 + 3) * 8 + 5) * 5 + 4},
    {{4, {2, 3, 4, 20}},
     {.kind = LAYOUT_NCHWC, .block = 16, .halo_h = 1, .halo_w = 1},
     {1, 2, 3, 18},
     (((2 + 1) * 5 + 3) * 6 + 4) * 16 + 2},
    {{2, {3, 20}}, {.kind = LAYOUT_NCHWC, .block = 16}, {2, 17}, 5 * 16 + 1},
    /* [o/4][i/2][kh][kw][2][4]: o=4, i=2, kh=1, kw=2 of [5,3,2,3] */
    {{4, {5, 3, 2, 3}},
     {.kind = LAYOUT_FILTER, .block = 2, .out_block = 4},
     {4, 2, 1, 2},
     (((1 * 2 + 1) * 2 + 1) * 3 + 2) * 8},
    {{4, {5, 3, 2, 3}}, {.kind = LAYOUT_FILTER, .block = 2, .out_block = 4}, {3, 1, 0, 0}, 7},
    /* [o/4][i/4][kh][kw][4/2][4][2]: o=3, i=3, kh=0, kw=1 of [5,4,2,3] */
    {{4, {5, 4, 2, 3}},
     {.kind = LAYOUT_FILTER, .block = 4, .out_block = 4, .pairs = true},
     {3, 3, 0, 1},
     16 + 8 + 3 * 2 + 1},
    /* rows of 3 x 3 entries in pairs, [o/4][kh][10/2][4][2]: o=2, i=2, kh=1, kw=1 of [5,3,2,3] */
    {{4, {5, 3, 2, 3}},
     {.kind = LAYOUT_FILTER, .block = 3, .out_block = 4, .pairs = true},
     {2, 2, 1, 1},
     1 * 40 + 5 / 2 * 8 + 2 * 2 + 5 % 2},
    /* [kh][kw][o/4][i/2][2][4] */
    {{4, {5, 3, 2, 3}},
     {.kind = LAYOUT_TAPS, .block = 2, .out_block = 4},
     {4, 2, 1, 2},
     (((1 * 3 + 2) * 2 + 1) * 2 + 1) * 8},
    {{4, {5, 3, 2, 3}}, {.kind = LAYOUT_TAPS, .block = 2, .out_block = 4}, {3, 1, 0, 0}, 7},
    /* [h][c/4][n][w][4] and a gap of 4: n=1, h=2, w=3, c=4 of [2,3,4,5], rows of 68 */
    {{4, {2, 3, 4, 5}}, {.kind = LAYOUT_HCNWC, .block = 4}, {1, 2, 3, 4}, 2 * 68 + 3 * 16 + 3 * 4},
    {{4, {2, 3, 4, 5}}, {.kind = LAYOUT_HCNWC, .block = 4}, {1, 0, 0, 3}, 16 + 3},
    {{4, {2, 3, 4, 5}}, {.kind = LAYOUT_HCNWC, .block = 4}, {0, 1, 0, 0}, 68},
    {{1, {33}}, {.kind = LAYOUT_VECTOR, .block = 16}, {32}, 32},
    /* a strip of rows of one image: the row counts from the strip's first, the image is dropped */
    {{4, {2, 9, 4, 20}},
     {.kind = LAYOUT_NCHWC, .block = 16, .strip = 3},
     {1, 2, 3, 18},
     ((1 * 3 + 2) * 4 + 3) * 16 + 2},
};

START_TEST(offsets_by_hand)
{
    Tensor t = tensor_of(DT_F32, spots[_i].shape, spots[_i].layout);
    ck_assert_int_eq(tensor_offset(&t, spots[_i].at), spots[_i].offset);
}
END_TEST

START_TEST(a_strip_holds_rows_of_one_image)
{
    Shape shape = {4, {8, 55, 55, 96}};
    Tensor t = tensor_of(DT_F32, shape, (Layout){.kind = LAYOUT_NCHWC, .block = 16, .strip = 4});
    ck_assert_int_eq(tensor_elements(&t), 6 * 4 * 55 * 16);
}
END_TEST

START_TEST(dtypes_have_names_and_sizes)
{
    ck_assert_str_eq(dtype_name(DT_F32), "f32");
    ck_assert_str_eq(dtype_name(DT_U8), "u8");
    ck_assert_int_eq(dtype_bytes(DT_F32), 4);
    ck_assert_int_eq(dtype_bytes(DT_BF16), 2);
    ck_assert_int_eq(dtype_bytes(DT_U8), 1);
}
END_TEST

START_TEST(shapes_compare_by_rank_and_extents)
{
    Shape a = {2, {3, 4}}, b = {2, {3, 4, 9}}, c = {2, {4, 3}}, d = {1, {3}}, scalar = {0, {0}};
    ck_assert(shape_equal(&a, &b));
    ck_assert(!shape_equal(&a, &c));
    ck_assert(!shape_equal(&a, &d));
    ck_assert_int_eq(shape_elements(&a), 12);
    ck_assert_int_eq(shape_elements(&scalar), 1);
}
END_TEST

int main(void)
{
    enum { CASES = sizeof cases / sizeof *cases, SPOTS = sizeof spots / sizeof *spots };
    Suite *suite = suite_create("tensor");
    TCase *tests = tcase_create("layouts");
    tcase_add_loop_test(tests, sizes_count_halo_and_padding, 0, CASES);
    tcase_add_loop_test(tests, packing_and_back_changes_nothing, 0, CASES);
    tcase_add_loop_test(tests, offsets_by_hand, 0, SPOTS);
    tcase_add_test(tests, a_strip_holds_rows_of_one_image);
    tcase_add_test(tests, dtypes_have_names_and_sizes);
    tcase_add_test(tests, shapes_compare_by_rank_and_extents);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
