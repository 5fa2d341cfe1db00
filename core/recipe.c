/* Training recipes: JSON text -> trm_recipe, with every key known and checked. */
#include <jansson.h>
#include <stddef.h>
#include <string.h>

#include "trm/train.h"

enum kind { K_INT, K_LONG, K_REAL, K_BOOL };

static const struct field {
    const char *key;
    enum kind kind;
    size_t offset;
    double min, max;
} fields[] = {
#define F(k, kind, lo, hi)                                                                         \
    { #k, kind, offsetof(trm_recipe, k), lo, hi }
    F(batch, K_INT, 1, 65536),
    F(steps, K_LONG, 1, 1e12),
    F(lr, K_REAL, 0, 10),
    F(lr_rest, K_REAL, 0, 10),
    F(weight_decay, K_REAL, 0, 100),
    F(weight_decay_rest, K_REAL, 0, 100),
    F(momentum, K_REAL, 0, 0.9999),
    F(beta1, K_REAL, 0, 0.9999),
    F(beta2, K_REAL, 0, 0.999999),
    F(clip, K_REAL, 0, 1e9),
    F(warmup, K_LONG, 0, 1e12),
    F(anneal_from, K_LONG, -1, 1e12),
    F(anneal_to, K_REAL, 0, 1),
    F(ema, K_REAL, 0, 0.999999),
    F(label_smoothing, K_REAL, 0, 0.99),
    F(q_weight, K_REAL, 0, 100),
    F(puzzle_emb_lr, K_REAL, 0, 10),
    F(puzzle_emb_decay, K_REAL, 0, 100),
    F(one_step_gradient, K_BOOL, 0, 1),
    F(tape, K_INT, 1, 1024),
    F(extra_clues, K_INT, 0, 60),
    F(curriculum_at, K_REAL, 0, 1),
    F(share_file, K_REAL, 0, 1),
    F(share_sparse, K_REAL, 0, 1),
    F(sparse_effort, K_INT, 0, 100000),
    F(size_min, K_INT, 2, 30),
    F(size_max, K_INT, 2, 30),
    F(wall_min, K_REAL, 0, 0.9),
    F(wall_max, K_REAL, 0, 0.9),
    F(length_min, K_INT, 1, 900),
#undef F
};
enum { N_FIELDS = sizeof fields / sizeof *fields };

static void defaults(trm_recipe *r) {
    memset(r, 0, sizeof *r);
    r->seed = 1;
    r->batch = 128;
    r->steps = 100000;
    r->optimizer = TRM_MUON;
    r->lr = 0.02;
    r->lr_rest = 1e-3;
    r->momentum = 0.95;
    r->beta1 = 0.9;
    r->beta2 = 0.95;
    r->clip = 1;
    r->warmup = 100;
    r->anneal_from = -1;
    r->ema = 0.999;
    r->q_weight = 0.5;
    r->puzzle_emb_lr = 1e-4;
    r->tape = 4;
    r->curriculum_at = 0.5;
    r->size_min = 5;
    r->size_max = 30;
    r->wall_min = 0.2;
    r->wall_max = 0.4;
    r->length_min = 1;
}

static int read_number(trm_recipe *r, const struct field *f, const json_t *v, trm_error *err) {
    char *at = (char *)r + f->offset;
    if (f->kind == K_BOOL) {
        if (!json_is_boolean(v))
            return trm_fail(err, TRM_E_FORMAT, "recipe: \"%s\" must be true or false", f->key);
        *(bool *)at = json_is_true(v);
        return TRM_OK;
    }
    bool whole = f->kind != K_REAL;
    double x = json_number_value(v);
    if (!(whole ? json_is_integer(v) : json_is_number(v)) || x < f->min || x > f->max)
        return trm_fail(err, TRM_E_FORMAT, "recipe: \"%s\" must be %s from %g to %g", f->key,
            whole ? "an integer" : "a number", f->min, f->max);
    if (f->kind == K_INT)
        *(int *)at = (int)x;
    else if (f->kind == K_LONG)
        *(long *)at = (long)x;
    else
        *(double *)at = x;
    return TRM_OK;
}

static int read_choice(
    int *out, const char *key, const json_t *v, const char *const *names, int n, trm_error *err) {
    const char *s = json_string_value(v);
    for (int i = 0; s && i < n; i++)
        if (strcmp(s, names[i]) == 0) {
            *out = i;
            return TRM_OK;
        }
    char all[128] = "";
    for (int i = 0; i < n; i++) {
        strncat(all, i ? ", " : "", sizeof all - strlen(all) - 1);
        strncat(all, names[i], sizeof all - strlen(all) - 1);
    }
    return trm_fail(err, TRM_E_FORMAT, "recipe: \"%s\" must be one of %s", key, all);
}

static int read_text(char *out, size_t size, const char *key, const json_t *v, trm_error *err) {
    const char *s = json_string_value(v);
    if (!s || strlen(s) >= size)
        return trm_fail(err, TRM_E_FORMAT,
            "recipe: \"%s\" must be a string of at most %zu characters", key, size - 1);
    strcpy(out, s);
    return TRM_OK;
}

static int read_exclude(trm_recipe *r, const json_t *v, trm_error *err) {
    size_t n = json_array_size(v), most = sizeof r->exclude / sizeof *r->exclude;
    if (!json_is_array(v) || n > most)
        return trm_fail(
            err, TRM_E_FORMAT, "recipe: \"exclude\" must be a list of at most %zu files", most);
    for (size_t i = 0; i < n; i++) {
        int e = read_text(r->exclude[i], sizeof *r->exclude, "exclude", json_array_get(v, i), err);
        if (e)
            return e;
    }
    return TRM_OK;
}

static int read_model(trm_recipe *r, const json_t *v, trm_error *err) {
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a recipe");
    trm_error inner;
    int e = trm_config_parse(&r->model, text, &inner);
    free(text);
    return e ? trm_fail(err, e, "recipe: model: %s", inner.text) : TRM_OK;
}

static int read_key(trm_recipe *r, const char *key, const json_t *v, trm_error *err) {
    static const char *const optimizers[] = {"muon", "adamw", "adam_atan2"};
    static const char *const losses[] = {"stablemax", "softmax"};
    for (int i = 0; i < N_FIELDS; i++)
        if (strcmp(key, fields[i].key) == 0)
            return read_number(r, &fields[i], v, err);
    int e, choice = 0;
    if (strcmp(key, "model") == 0)
        return read_model(r, v, err);
    if (strcmp(key, "exclude") == 0)
        return read_exclude(r, v, err);
    if (strcmp(key, "task") == 0)
        return read_text(r->task, sizeof r->task, key, v, err);
    if (strcmp(key, "file") == 0)
        return read_text(r->file, sizeof r->file, key, v, err);
    if (strcmp(key, "note") == 0)
        return TRM_OK;
    if (strcmp(key, "seed") == 0) {
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return trm_fail(err, TRM_E_FORMAT, "recipe: \"seed\" must be an integer from 0");
        r->seed = (uint64_t)json_integer_value(v);
        return TRM_OK;
    }
    if (strcmp(key, "optimizer") == 0) {
        e = read_choice(&choice, key, v, optimizers, 3, err);
        r->optimizer = (trm_optimizer)choice;
        return e;
    }
    if (strcmp(key, "loss") == 0) {
        e = read_choice(&choice, key, v, losses, 2, err);
        r->loss = (trm_loss_kind)choice;
        return e;
    }
    return trm_fail(err, TRM_E_FORMAT, "recipe: unknown key \"%.60s\"", key);
}

static int check(trm_recipe *r, trm_error *err) {
    if (strcmp(r->task, "sudoku") != 0 && strcmp(r->task, "maze") != 0)
        return trm_fail(err, TRM_E_FORMAT, "recipe: \"task\" must be sudoku or maze");
    if (r->model.seq_len == 0)
        return trm_fail(err, TRM_E_FORMAT, "recipe: \"model\" is missing");
    bool sudoku = strcmp(r->task, "sudoku") == 0;
    if (r->model.seq_len != (sudoku ? 81 : 900) || r->model.vocab_size != (sudoku ? 11 : 6))
        return trm_fail(err, TRM_E_FORMAT, "recipe: a %s model has seq_len %d and vocab_size %d",
            r->task, sudoku ? 81 : 900, sudoku ? 11 : 6);
    if (r->size_min > r->size_max || r->wall_min > r->wall_max)
        return trm_fail(err, TRM_E_FORMAT, "recipe: a minimum is above its maximum");
    if (!r->model.packed && r->size_min != r->size_max && !sudoku)
        return trm_fail(
            err, TRM_E_FORMAT, "recipe: mazes of several sizes need a model with \"packed\": true");
    strcpy(r->model.task, r->task);
    return TRM_OK;
}

static int from_json(trm_recipe *r, json_t *o, trm_error *err) {
    const char *key;
    json_t *v;
    if (!json_is_object(o))
        return trm_fail(err, TRM_E_FORMAT, "recipe: not a JSON object");
    json_object_foreach(o, key, v) {
        int e = read_key(r, key, v, err);
        if (e)
            return e;
    }
    return check(r, err);
}

int trm_recipe_parse(trm_recipe *r, const char *json, trm_error *err) {
    json_error_t je;
    defaults(r);
    json_t *o = json_loads(json, JSON_REJECT_DUPLICATES, &je);
    if (!o)
        return trm_fail(
            err, TRM_E_FORMAT, "recipe: line %d column %d: %s", je.line, je.column, je.text);
    int e = from_json(r, o, err);
    json_decref(o);
    return e;
}

int trm_recipe_read(trm_recipe *r, const char *path, trm_error *err) {
    json_error_t je;
    defaults(r);
    json_t *o = json_load_file(path, JSON_REJECT_DUPLICATES, &je);
    if (!o && je.line < 0)
        return trm_fail(err, TRM_E_IO, "%s: %s", path, je.text);
    if (!o)
        return trm_fail(
            err, TRM_E_FORMAT, "%s: line %d column %d: %s", path, je.line, je.column, je.text);
    trm_error inner;
    int e = from_json(r, o, &inner);
    if (e)
        (void)trm_fail(err, e, "%s: %s", path, inner.text);
    json_decref(o);
    return e;
}
