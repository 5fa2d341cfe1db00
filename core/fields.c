/* See fields.h. */
#include "fields.h"
#include "trm/model.h"

int trm_field_read(
    void *into, const trm_field *f, const json_t *v, const char *what, trm_error *err) {
    char *at = (char *)into + f->offset;
    if (f->kind == TRM_BOOL) {
        if (!json_is_boolean(v))
            return trm_fail(err, TRM_E_FORMAT, "%s: \"%s\" must be true or false", what, f->key);
        *(bool *)at = json_is_true(v);
        return TRM_OK;
    }
    bool whole = f->kind != TRM_REAL;
    double x = json_number_value(v);
    if (!(whole ? json_is_integer(v) : json_is_number(v)) || x < f->min || x > f->max)
        return trm_fail(err, TRM_E_FORMAT, "%s: \"%s\" must be %s from %g to %g", what, f->key,
            whole ? "an integer" : "a number", f->min, f->max);
    if (f->kind == TRM_INT)
        *(int *)at = (int)x;
    else if (f->kind == TRM_LONG)
        *(long *)at = (long)x;
    else
        *(double *)at = x;
    return TRM_OK;
}

static bool is_utf8(const char *text) {
    json_t *s = json_string(text);
    json_decref(s);
    return s != NULL;
}

void trm_make_utf8(char *text) {
    for (; *text && !is_utf8(text); text++)
        if ((unsigned char)*text >= 0x80)
            *text = '?';
}

int trm_json_read(const char *text, const char *path, const char *what,
    int (*read)(void *arg, json_t *o, trm_error *err), void *arg, trm_error *err) {
    json_error_t je;
    trm_error inner;
    json_t *o = text ? json_loads(text, JSON_REJECT_DUPLICATES, &je)
                     : json_load_file(path, JSON_REJECT_DUPLICATES, &je);
    const char *where = text ? what : path;
    if (!o && je.line < 0)
        return trm_fail(err, TRM_E_IO, "%s: %s", where, je.text);
    if (!o)
        return trm_fail(
            err, TRM_E_FORMAT, "%s: line %d column %d: %s", where, je.line, je.column, je.text);
    int r = json_is_object(o) ? read(arg, o, &inner)
                              : trm_fail(&inner, TRM_E_FORMAT, "%s: not a JSON object", what);
    if (r && text)
        (void)trm_fail(err, r, "%s", inner.text);
    else if (r)
        (void)trm_fail(err, r, "%s: %s", path, inner.text);
    json_decref(o);
    return r;
}
