/* Messages for people: the word that was meant, lines as wide as the terminal. */
#include "ir.h"

#include "numbers.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LONGEST_WORD = 32, LEAST_COLUMNS = 40, INDENT = 4 };

static bool same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Edits (insert, delete, replace, swap of neighbours) between two short words; source: the
 * restricted Damerau-Levenshtein distance. Capitals count as small letters. */
static int edit_distance(const char *a, const char *b)
{
    int row[LONGEST_WORD + 1][LONGEST_WORD + 1];
    int n = (int)strlen(a), m = (int)strlen(b);

    if (n > LONGEST_WORD || m > LONGEST_WORD)
        return LONGEST_WORD;
    for (int i = 0; i <= n; i++) {
        for (int j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                row[i][j] = i + j;
                continue;
            }
            row[i][j] = (int)smaller(smaller(row[i - 1][j], row[i][j - 1]) + 1,
                                     row[i - 1][j - 1] + (!same_letter(a[i - 1], b[j - 1])));
            if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) &&
                same_letter(a[i - 2], b[j - 1]))
                row[i][j] = (int)smaller(row[i][j], row[i - 2][j - 2] + 1);
        }
    }
    return row[n][m];
}

const char *nearest_word(const char *word, const void *words, int count, size_t stride)
{
    const char *best = NULL;
    int best_distance = 1 + (int)strlen(word) / 3;

    for (int i = 0; i < count; i++) {
        const char *candidate = *(const char *const *)((const char *)words + (size_t)i * stride);
        int distance = edit_distance(word, candidate);

        if (distance <= best_distance && distance < (int)strlen(candidate)) {
            best_distance = distance - 1;
            best = candidate;
        }
    }
    return best;
}

/* ---- lines ---- */

/* How many columns a line of `out` has; 0: as many as it takes. */
static int line_columns(FILE *out)
{
    const char *wish = getenv("COLUMNS");
    struct winsize size;
    int columns = wish ? atoi(wish) : 0;

    if (columns <= 0 && isatty(fileno(out)) && ioctl(fileno(out), TIOCGWINSZ, &size) == 0)
        columns = size.ws_col;
    return columns > 0 && columns < LEAST_COLUMNS ? LEAST_COLUMNS : columns;
}

/* Columns of the first `length` bytes: one a character of UTF-8, none a colour. */
static int text_columns(const char *text, size_t length)
{
    bool escape = false;
    int columns = 0;

    for (size_t i = 0; i < length; i++) {
        escape |= text[i] == '\033';
        columns += !escape && ((unsigned char)text[i] & 0xc0) != 0x80;
        escape &= text[i] != 'm';
    }
    return columns;
}

void print_message(FILE *out, const char *message)
{
    print_lines(out, message, line_columns(out));
}

void print_error(const char *format, ...)
{
    Text line = {0};
    va_list ap;

    va_start(ap, format);
    text_append_v(&line, format, ap);
    va_end(ap);
    print_message(stderr, line.data);
    text_free(&line);
}

void print_lines(FILE *out, const char *message, int columns)
{
    int at = 0;
    bool whole = false;

    while (*message) {
        size_t blanks = strspn(message, " "), word = strcspn(message + blanks, " \n");
        int wide = text_columns(message, blanks + word);

        if (columns > 0 && !whole && at > INDENT && at + wide > columns) {
            at = INDENT + wide - (int)blanks;
            fprintf(out, "\n%*s%.*s", INDENT, "", (int)word, message + blanks);
        } else {
            at += wide;
            fprintf(out, "%.*s", (int)(blanks + word), message);
        }
        message += blanks + word;
        if (*message == '\n') {
            putc(*message++, out);
            at = 0;
            whole = *message == ' ';
        }
    }
    putc('\n', out);
}
