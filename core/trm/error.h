/* How every trm_ function reports failure.
 *
 * Functions return 0 (TRM_OK) or one of the negative codes below, and fill the caller's
 * trm_error with one line a person can act on. Libraries never print and never exit.
 * A trm_error is plain memory of the caller's: no ownership, no threads.
 */
#ifndef TRM_ERROR_H
#define TRM_ERROR_H

#if defined(__GNUC__)
#define TRM_API __attribute__((visibility("default")))
#define TRM_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define TRM_API
#define TRM_PRINTF(f, a)
#endif

enum {
    TRM_OK = 0,
    TRM_E_ARG = -1,         /* the caller asked for something that makes no sense */
    TRM_E_NOMEM = -2,       /* allocation failed */
    TRM_E_IO = -3,          /* the operating system said no; text holds strerror */
    TRM_E_FORMAT = -4,      /* a file or text is not what it should be; text says where */
    TRM_E_UNSUPPORTED = -5, /* well-formed, but this build or machine cannot do it */
    TRM_E_IMPOSSIBLE = -6,  /* a puzzle that breaks its own rules */
    TRM_E_BACKEND = -7,     /* a compute library or device failed */
    TRM_E_DISK = -8,        /* a disk is full or failing; text holds strerror */
};

typedef struct trm_error {
    int code;
    char text[496];
} trm_error;

/* Fills err, which may be NULL. */
TRM_API void trm_error_set(trm_error *err, int code, const char *fmt, ...) TRM_PRINTF(3, 4);

/* "PATH: strerror(e)". Returns TRM_E_DISK where e tells of the disk, else TRM_E_IO. */
TRM_API int trm_fail_errno(trm_error *err, const char *path, int e);

/* Fills err and is `code`, so that callers write `return trm_fail(err, TRM_E_ARG, "...")`. A
 * macro, so that compilers and analysers see which value a failure has. */
#define trm_fail(err, code, ...) (trm_error_set((err), (code), __VA_ARGS__), (code))

#endif
