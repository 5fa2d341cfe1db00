/* trm_error_set: the one place where error texts are made. No state. */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "trm/error.h"

void trm_error_set(trm_error *err, int code, const char *fmt, ...) {
    if (!err)
        return;
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    (void)vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
}

int trm_fail_errno(trm_error *err, const char *path, int e) {
    bool disk = e == ENOSPC || e == EDQUOT || e == EFBIG || e == EIO;
    return trm_fail(err, disk ? TRM_E_DISK : TRM_E_IO, "%s: %s", path, strerror(e));
}
