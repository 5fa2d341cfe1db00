/* trm_error_set: the one place where error texts are made. No state. */
#include <stdarg.h>
#include <stdio.h>

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
