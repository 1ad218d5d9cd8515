/* The data sets that are known by name. Also the front end reads this table, so it includes nothing
 * else of the runtime. */
#ifndef NINC_SETS_H
#define NINC_SETS_H

/* What the files of a set have otherwise than others of their format. */
enum {
    SET_TRANSPOSED = 1, /* rows are columns */
    SET_FROM_ONE = 2,   /* labels begin at 1 */
    SET_IS_FORMAT = 4,  /* its name is a format's too: other shapes and classes may be given */
    SET_SEVERAL_LABELS = 8 /* an image may be of several classes: it is refused */
};

typedef struct DataSet {
    const char *name;
    const char *format;    /* that its files are in, unless they are of another (DataFormat) */
    int shape[3], classes; /* channels, height, width; 0: the model file says it */
    unsigned flags;
    const char *get;       /* how to get it; NULL: put its files into a directory */
    const char *const *class_name; /* [classes]; NULL: the classes are their numbers */
    const char *family;       /* whose directory may hold it beside others; NULL: none's */
    const char *const *below; /* where downloads have the files in a directory, a NULL behind them;
                                 NULL: nowhere but in it */
} DataSet;

extern const DataSet data_sets[];
extern const int data_set_count;

/* By name; NULL: not known. */
const DataSet *find_data_set(const char *name);

#endif
