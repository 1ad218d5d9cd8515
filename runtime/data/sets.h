/* The data sets that are known by name. Also the front end reads this table, so it includes nothing
 * else of the runtime. */
#ifndef NINC_SETS_H
#define NINC_SETS_H

enum { NAMED_CLASSES = 10 };

typedef struct DataSet {
    const char *name;
    int shape[3], classes; /* channels, height, width; 0: the model file says it */
    const char *get;       /* how to get it; NULL: put its files into a directory */
    const char *class_name[NAMED_CLASSES]; /* NULL: the classes are their numbers */
} DataSet;

extern const DataSet data_sets[];
extern const int data_set_count;

/* By name; NULL: not known. */
const DataSet *find_data_set(const char *name);

#endif
