/* Training recipes: JSON text -> trm_recipe, with every key known and checked. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "arc_rules.h"
#include "fields.h"
#include "net.h"
#include "trm/train.h"

static const trm_field fields[] = {
#define F(k, kind, lo, hi)                                                                         \
    { #k, kind, offsetof(trm_recipe, k), lo, hi, false }
    F(batch, TRM_INT, 1, 65536),
    F(steps, TRM_LONG, 1, 1e12),
    F(lr, TRM_REAL, 0, 10),
    F(lr_rest, TRM_REAL, 0, 10),
    F(weight_decay, TRM_REAL, 0, 100),
    F(weight_decay_rest, TRM_REAL, 0, 100),
    F(momentum, TRM_REAL, 0, 0.9999),
    F(beta1, TRM_REAL, 0, 0.9999),
    F(beta2, TRM_REAL, 0, 0.999999),
    F(clip, TRM_REAL, 0, 1e9),
    F(warmup, TRM_LONG, 0, 1e12),
    F(anneal_from, TRM_LONG, -1, 1e12),
    F(anneal_to, TRM_REAL, 0, 1),
    F(ema, TRM_REAL, 0, 0.999999),
    F(label_smoothing, TRM_REAL, 0, 0.99),
    F(q_weight, TRM_REAL, 0, 100),
    F(puzzle_emb_lr, TRM_REAL, 0, 10),
    F(puzzle_emb_decay, TRM_REAL, 0, 100),
    F(one_step_gradient, TRM_BOOL, 0, 1),
    F(tape, TRM_INT, 1, 1024),
    F(extra_clues, TRM_INT, 0, 60),
    F(extra_clues_least, TRM_INT, 0, 60),
    F(curriculum_at, TRM_REAL, 0, 1),
    F(share_file, TRM_REAL, 0, 1),
    F(share_sparse, TRM_REAL, 0, 1),
    F(share_wrong, TRM_REAL, 0, 1),
    F(share_assumed, TRM_REAL, 0, 1),
    F(share_assumed_wrong, TRM_REAL, 0, 1),
    F(sparse_effort, TRM_INT, 0, 100000),
    F(size_min, TRM_INT, 2, 30),
    F(size_max, TRM_INT, 2, 30),
    F(size_start, TRM_INT, 0, 30),
    F(wall_min, TRM_REAL, 0, 0.9),
    F(wall_max, TRM_REAL, 0, 0.9),
    F(length_min, TRM_INT, 1, 900),
    F(share_short, TRM_REAL, 0, 1),
    F(share_rules, TRM_REAL, 0, 1),
    F(share_composed, TRM_REAL, 0, 1),
    F(share_colours, TRM_REAL, 0, 1),
    F(share_moved, TRM_REAL, 0, 1),
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
    r->share_colours = 0.75;
    r->share_moved = 0.3;
    for (int i = 0; i < TRM_ARC_RULES; i++)
        r->rules[i] = 1;
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

static int read_files(char (*out)[512], const char *key, const json_t *v, trm_error *err) {
    size_t n = json_array_size(v), most = 8;
    if (!json_is_array(v) || n > most)
        return trm_fail(
            err, TRM_E_FORMAT, "recipe: \"%s\" must be a list of at most %zu files", key, most);
    for (size_t i = 0; i < n; i++) {
        int e = read_text(out[i], sizeof *out, key, json_array_get(v, i), err);
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

/* {"crop": 8}: how often a rule is drawn; 1 where it is not named. */
static int read_rules(trm_recipe *r, const json_t *v, trm_error *err) {
    const char *name;
    json_t *weight;
    int total = 0;
    if (!json_is_object(v))
        return trm_fail(err, TRM_E_FORMAT, "recipe: \"rules\" must be an object of rules");
    json_object_foreach((json_t *)v, name, weight) {
        int i = 0;
        while (i < TRM_ARC_RULES && strcmp(trm_arc_rule_name(i), name) != 0)
            i++;
        if (i == TRM_ARC_RULES)
            return trm_fail(err, TRM_E_FORMAT, "recipe: \"rules\": there is no \"%.60s\"", name);
        json_int_t w = json_is_integer(weight) ? json_integer_value(weight) : -1;
        if (w < 0 || w > 1000)
            return trm_fail(err, TRM_E_FORMAT,
                "recipe: \"rules\": \"%s\" must be an integer from 0 to 1000", name);
        r->rules[i] = (int)w;
    }
    for (int i = 0; i < TRM_ARC_RULES; i++)
        total += r->rules[i];
    return total ? TRM_OK : trm_fail(err, TRM_E_FORMAT, "recipe: \"rules\": all are 0");
}

static int read_key(trm_recipe *r, const char *key, const json_t *v, trm_error *err) {
    static const char *const optimizers[] = {"muon", "adamw", "adam_atan2"};
    static const char *const losses[] = {"stablemax", "softmax"};
    for (int i = 0; i < N_FIELDS; i++)
        if (strcmp(key, fields[i].key) == 0)
            return trm_field_read(r, &fields[i], v, "recipe", err);
    int e, choice = 0;
    if (strcmp(key, "model") == 0)
        return read_model(r, v, err);
    if (strcmp(key, "exclude") == 0)
        return read_files(r->exclude, key, v, err);
    if (strcmp(key, "challenges") == 0)
        return read_files(r->challenges, key, v, err);
    if (strcmp(key, "rules") == 0)
        return read_rules(r, v, err);
    if (strcmp(key, "held_out") == 0)
        return read_text(r->held_out, sizeof r->held_out, key, v, err);
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
    static const struct {
        const char *task;
        int cells, vocab;
    } kinds[] = {{"sudoku", 81, 11}, {"maze", 900, 6}, {"arc", 900, 12}};
    size_t kind = 0;
    while (kind < 3 && strcmp(r->task, kinds[kind].task) != 0)
        kind++;
    if (kind == 3)
        return trm_fail(err, TRM_E_FORMAT, "recipe: \"task\" must be sudoku, maze or arc");
    if (r->model.seq_len == 0)
        return trm_fail(err, TRM_E_FORMAT, "recipe: \"model\" is missing");
    bool sudoku = kind == 0;
    bool small = kind == 1 && r->model.seq_len == r->size_max * r->size_max;
    if ((r->model.seq_len != kinds[kind].cells && !small) ||
        r->model.vocab_size != kinds[kind].vocab)
        return trm_fail(err, TRM_E_FORMAT, "recipe: a %s model has seq_len %d%s and vocab_size %d",
            r->task, kinds[kind].cells, kind == 1 ? ", or size_max squared," : "",
            kinds[kind].vocab);
    if (kind == 2 && (!r->model.packed || !r->model.frames || !trm_config_places(&r->model)))
        return trm_fail(err, TRM_E_FORMAT,
            "recipe: an arc model has \"packed\" and \"frames\" true and pos_encodings rope2d");
    if (r->size_min > r->size_max || r->wall_min > r->wall_max)
        return trm_fail(err, TRM_E_FORMAT, "recipe: a minimum is above its maximum");
    if (r->size_start && (r->size_start < r->size_min || r->size_start > r->size_max))
        return trm_fail(
            err, TRM_E_FORMAT, "recipe: size_start is not between size_min and size_max");
    if (r->share_wrong > 0 && (!sudoku || !r->model.unsat_head))
        return trm_fail(
            err, TRM_E_FORMAT, "recipe: share_wrong is for Sudoku models with \"unsat_head\" true");
    if (r->share_assumed > 0 && (!sudoku || !r->model.unsat_head || r->loss != TRM_STABLEMAX))
        return trm_fail(err, TRM_E_FORMAT,
            "recipe: share_assumed is for Sudoku models with \"unsat_head\" true and stablemax");
    if (r->label_smoothing > 0 && trm_config_candidates(&r->model))
        return trm_fail(err, TRM_E_FORMAT,
            "recipe: label_smoothing would ask a model of candidates for tokens it cannot give");
    if (r->extra_clues_least > r->extra_clues)
        return trm_fail(err, TRM_E_FORMAT, "recipe: extra_clues_least is above extra_clues");
    if (!r->model.packed && r->size_min != r->size_max && !sudoku)
        return trm_fail(err, TRM_E_FORMAT,
            "recipe: puzzles of several sizes need a model with \"packed\": true");
    strcpy(r->model.task, r->task);
    return TRM_OK;
}

static int from_json(void *arg, json_t *o, trm_error *err) {
    trm_recipe *r = arg;
    const char *key;
    json_t *v;
    json_object_foreach(o, key, v) {
        int e = read_key(r, key, v, err);
        if (e)
            return e;
    }
    return check(r, err);
}

int trm_recipe_parse(trm_recipe *r, const char *json, trm_error *err) {
    defaults(r);
    return trm_json_read(json, NULL, "recipe", from_json, r, err);
}

int trm_recipe_read(trm_recipe *r, const char *path, trm_error *err) {
    defaults(r);
    int e = trm_json_read(NULL, path, "recipe", from_json, r, err);
    const char *slash = strrchr(path, '/');
    if (e || !r->held_out[0] || r->held_out[0] == '/' || !slash)
        return e;
    char name[sizeof r->held_out];
    strcpy(name, r->held_out);
    int n = snprintf(r->held_out, sizeof r->held_out, "%.*s/%s", (int)(slash - path), path, name);
    return n < (int)sizeof r->held_out
               ? TRM_OK
               : trm_fail(err, TRM_E_FORMAT, "%s: the path of \"held_out\" is too long", path);
}
