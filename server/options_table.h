/* The table behind trmd_options: one row an option, shared by reading, showing and checking.
 * Constant data; any thread. Private to options*.c.
 */
#ifndef TRMD_OPTIONS_TABLE_H
#define TRMD_OPTIONS_TABLE_H

#include <stddef.h>

#include "options.h"

typedef enum option_kind {
    OPTION_STRING, /* char * */
    OPTION_CHOICE, /* char *, one of `choices` */
    OPTION_INT,    /* int in min..max */
    OPTION_BYTES,  /* int64_t in min..max */
    OPTION_REAL,   /* double in min..max */
    OPTION_BOOL,   /* bool */
    OPTION_LIST,   /* trmd_list */
} option_kind;

typedef struct option_row {
    const char *group;    /* heading that starts here, or NULL */
    const char *name;     /* config-file key; flag and variable derive from it */
    size_t at;            /* in trmd_options */
    const char *standard; /* the default, as text */
    double min, max;
    const char *const *choices;             /* NULL-ended */
    const char *(*wrong)(const char *text); /* NULL, or says what is wrong with a value */
    const char *value;                      /* what stands for it in --help */
    const char *help;
    option_kind kind;
    bool reload; /* SIGHUP applies it */
} option_row;

enum { OPTION_NAME_ROOM = 64, OPTION_WHERE_ROOM = 512 };

extern const option_row option_rows[];
extern const int option_count;

typedef enum option_source { FROM_DEFAULT, FROM_FILE, FROM_ENV, FROM_FLAG } option_source;

void *option_at(const trmd_options *o, const option_row *row);
/* "--queue-puzzles", "TRMD_QUEUE_PUZZLES". */
void option_flag(const option_row *row, char out[OPTION_NAME_ROOM]);
void option_variable(const option_row *row, char out[OPTION_NAME_ROOM]);
/* Names the place to mend: the flag, the variable, "FILE: key", or "default of key". */
void option_where(const trmd_options *o, const option_row *row, option_source source,
    char out[OPTION_WHERE_ROOM]);

/* Each returns NULL or what is wrong. */
const char *option_wrong_origin(const char *text);
const char *option_wrong_jobs(const char *text);

/* Frees what the row's value owns and leaves it empty. */
void option_clear(trmd_options *o, const option_row *row);
/* Reads `text` into the row's value; a list grows by one. */
int option_set(
    trmd_options *o, const option_row *row, option_source source, const char *text, trm_error *err);

#endif
