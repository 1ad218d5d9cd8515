/* The eigenvectors of a symmetric matrix, by LAPACK: in trainers alone whose model whitens its
 * images (frontend/normalize.c), which are linked with it (codegen/build.c). */
#include "../../ir/ir.h"
#include "normalize.h"

#include <math.h>
#include <stdlib.h>

/* LAPACK (Anderson et al. 1999), column by column, every argument by address. */
void dsytrd_(const char *uplo, const int *n, double *a, const int *lda, double *d, double *e,
             double *tau, double *work, const int *lwork, int *info);
void dorgtr_(const char *uplo, const int *n, double *a, const int *lda, const double *tau,
             double *work, const int *lwork, int *info);
void dstedc_(const char *compz, const int *n, double *d, double *e, double *z, const int *ldz,
             double *work, const int *lwork, int *iwork, const int *liwork, int *info);
void xerbla_(const char *routine, const int *argument, size_t length);

/* LAPACK calls it for an argument that is none; its own one needs Fortran's library. */
void xerbla_(const char *routine, const int *argument, size_t length)
{
    internal_error("argument %d of %.*s is none", *argument, (int)length, routine);
}

/* What the three of them take; from dstedc's documentation, for COMPZ = 'V'. */
typedef struct Room {
    double *e, *tau, *work;
    int *iwork;
    int lwork, liwork;
} Room;

static int make_room(Room *r, int n)
{
    int levels = 1;
    while (1 << levels < n)
        levels++;
    size_t side = (size_t)n, work = 1 + 3 * side + 2 * side * (size_t)levels + 4 * side * side;
    r->lwork = (int)work;
    r->liwork = 6 + 6 * n + 5 * n * levels;
    r->e = malloc(side * sizeof *r->e);
    r->tau = malloc(side * sizeof *r->tau);
    r->work = malloc(work * sizeof *r->work);
    r->iwork = malloc((size_t)r->liwork * sizeof *r->iwork);
    if (r->e && r->tau && r->work && r->iwork)
        return 0;
    return fault("no memory for the eigenvectors of a matrix of %d by %d (%zu bytes); free some "
                 "memory, or leave zca out of the model file",
                 n, n, work * sizeof *r->work);
}

static void free_room(Room *r)
{
    free(r->e);
    free(r->tau);
    free(r->work);
    free(r->iwork);
}

/* To three diagonals, whose transform is spelled out, and by divide and conquer (Cuppen 1981). */
int symmetric_eigen(double *a, int n, double *value)
{
    Room r = {0};
    int info = 0, status = make_room(&r, n);
    if (status == 0) {
        dsytrd_("L", &n, a, &n, value, r.e, r.tau, r.work, &r.lwork, &info);
        dorgtr_("L", &n, a, &n, r.tau, r.work, &r.lwork, &info);
        dstedc_("V", &n, value, r.e, a, &n, r.work, &r.lwork, r.iwork, &r.liwork, &info);
        if (info > 0)
            status = fault("the training images cannot be whitened: the eigenvalues of their "
                           "covariance are not found; leave zca out of the model file");
    }
    free_room(&r);
    return status;
}
