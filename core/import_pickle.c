/* See import_pickle.h. Values live in one array that only grows (bounded), so nothing is
 * freed twice and a hostile file cannot make cycles that matter. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import_pickle.h"

enum { MAX_VALUES = 400000, MAX_TENSORS = 20000 };

enum kind { V_NONE, V_BOOL, V_INT, V_TEXT, V_TUPLE, V_DICT, V_GLOBAL, V_STORAGE, V_TENSOR };
enum global { G_ORDERED_DICT, G_REBUILD_TENSOR, G_REBUILD_PARAMETER, G_STORAGE };

struct value {
    enum kind kind;
    int64_t i;        /* int, bool; global: which; storage: elements; tensor: index */
    const uint8_t *s; /* text; storage: its key */
    size_t n;         /* text length; tuple: number of items */
    int item;         /* tuple: first in `items`; dict: whether it is the outermost */
    trm_dtype dtype;  /* global storage, storage */
};

struct machine {
    const uint8_t *p, *end;
    struct value *value;
    int values, most;
    int *stack, top;
    int *mark, marks;
    int *memo, memos; /* value by index, -1 = none */
    int *items, n_items;
    trm_pickle_tensor *tensor;
    int tensors, room;
    trm_error *err;
};

static int bad(struct machine *m, const char *what) {
    return trm_fail(m->err, TRM_E_FORMAT, "pickle: %s", what);
}

static int push(struct machine *m, struct value v) {
    if (m->values >= m->most || m->top >= m->most)
        return bad(m, "too many values");
    m->value[m->values] = v;
    m->stack[m->top++] = m->values++;
    return TRM_OK;
}

/* Items above the last mark; -1 and an error where there is no mark. */
static int since_mark(struct machine *m) {
    if (!m->marks || m->mark[m->marks - 1] > m->top) {
        (void)bad(m, "no mark on the stack");
        return -1;
    }
    return m->top - m->mark[m->marks - 1];
}

static const struct value *peek(const struct machine *m, int below) {
    return below < m->top ? &m->value[m->stack[m->top - 1 - below]] : NULL;
}

static bool take(struct machine *m, const uint8_t **at, size_t n) {
    if ((size_t)(m->end - m->p) < n)
        return false;
    *at = m->p;
    m->p += n;
    return true;
}

static bool number(struct machine *m, int bytes, uint64_t *out) {
    const uint8_t *p;
    if (!take(m, &p, (size_t)bytes))
        return false;
    *out = 0;
    for (int i = bytes - 1; i >= 0; i--)
        *out = *out << 8 | p[i];
    return true;
}

static int make_tuple(struct machine *m, int n) {
    if (n > m->top || m->n_items + n > 2 * m->most)
        return bad(m, "a tuple of things that are not there");
    int first = m->n_items;
    for (int i = 0; i < n; i++)
        m->items[m->n_items++] = m->stack[m->top - n + i];
    m->top -= n;
    return push(m, (struct value){.kind = V_TUPLE, .item = first, .n = (size_t)n});
}

static const struct value *item(const struct machine *m, const struct value *tuple, size_t i) {
    return tuple->kind == V_TUPLE && i < tuple->n ? &m->value[m->items[tuple->item + (int)i]]
                                                  : NULL;
}

static int op_global(struct machine *m, const char *module, const char *name) {
    static const struct {
        const char *name;
        trm_dtype dtype;
    } storages[] = {{"FloatStorage", TRM_F32}, {"BFloat16Storage", TRM_BF16},
        {"HalfStorage", TRM_F16}, {"DoubleStorage", TRM_F64}, {"LongStorage", TRM_I64},
        {"IntStorage", TRM_I32}, {"CharStorage", TRM_I8}, {"ByteStorage", TRM_U8}};
    struct value v = {.kind = V_GLOBAL};
    if (strcmp(module, "collections") == 0 && strcmp(name, "OrderedDict") == 0) {
        v.i = G_ORDERED_DICT;
        return push(m, v);
    }
    if (strcmp(module, "torch._utils") == 0 && strcmp(name, "_rebuild_tensor_v2") == 0) {
        v.i = G_REBUILD_TENSOR;
        return push(m, v);
    }
    if (strcmp(module, "torch._utils") == 0 && strcmp(name, "_rebuild_parameter") == 0) {
        v.i = G_REBUILD_PARAMETER;
        return push(m, v);
    }
    for (size_t i = 0; strcmp(module, "torch") == 0 && i < sizeof storages / sizeof *storages; i++)
        if (strcmp(name, storages[i].name) == 0) {
            v.i = G_STORAGE;
            v.dtype = storages[i].dtype;
            return push(m, v);
        }
    return trm_fail(m->err, TRM_E_UNSUPPORTED, "pickle: asks for %.80s.%.80s, which is no tensor",
        module, name);
}

static int read_global(struct machine *m) {
    char text[2][128];
    for (int k = 0; k < 2; k++) {
        size_t n = 0;
        while (m->p < m->end && *m->p != '\n' && n < sizeof text[k] - 1)
            text[k][n++] = (char)*m->p++;
        if (m->p >= m->end || *m->p != '\n')
            return bad(m, "a global name is cut off or too long");
        m->p++;
        text[k][n] = 0;
    }
    return op_global(m, text[0], text[1]);
}

static int op_stack_global(struct machine *m) {
    char text[2][128];
    for (int k = 0; k < 2; k++) {
        const struct value *v = peek(m, 1 - k);
        if (!v || v->kind != V_TEXT || v->n >= sizeof text[k])
            return bad(m, "a global needs two names");
        memcpy(text[k], v->s, v->n);
        text[k][v->n] = 0;
    }
    m->top -= 2;
    return op_global(m, text[0], text[1]);
}

/* ('storage', torch.FloatStorage, '0', 'cpu', elements) */
static int op_persid(struct machine *m) {
    const struct value *t = peek(m, 0);
    if (!t || t->kind != V_TUPLE || t->n != 5)
        return bad(m, "a persistent id is not a storage");
    const struct value *tag = item(m, t, 0), *type = item(m, t, 1), *key = item(m, t, 2);
    const struct value *count = item(m, t, 4);
    if (tag->kind != V_TEXT || tag->n != 7 || memcmp(tag->s, "storage", 7) != 0 ||
        type->kind != V_GLOBAL || type->i != G_STORAGE || key->kind != V_TEXT || key->n > 60 ||
        count->kind != V_INT || count->i < 0)
        return bad(m, "a persistent id is not a storage");
    struct value v = {
        .kind = V_STORAGE, .i = count->i, .s = key->s, .n = key->n, .dtype = type->dtype};
    m->top--;
    return push(m, v);
}

static int dims(struct machine *m, const struct value *t, int64_t *out, int *n) {
    if (!t || t->kind != V_TUPLE || t->n > TRM_ST_MAX_DIMS)
        return bad(m, "a shape is not a tuple of at most 8 sizes");
    *n = (int)t->n;
    for (size_t i = 0; i < t->n; i++) {
        const struct value *v = item(m, t, i);
        if (v->kind != V_INT || v->i < 0)
            return bad(m, "a size is not a whole number");
        out[i] = v->i;
    }
    return TRM_OK;
}

/* _rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, hooks, ...) */
static int rebuild_tensor(struct machine *m, const struct value *args) {
    const struct value *st = item(m, args, 0), *off = item(m, args, 1);
    int n;
    if (!st || st->kind != V_STORAGE || !off || off->kind != V_INT || off->i < 0 || args->n < 4)
        return bad(m, "a tensor without storage");
    if (m->tensors >= m->room)
        return bad(m, "too many tensors");
    trm_pickle_tensor *t = &m->tensor[m->tensors];
    memset(t, 0, sizeof *t);
    t->dtype = st->dtype;
    t->offset = off->i;
    t->storage_elements = st->i;
    memcpy(t->storage, st->s, st->n);
    int r = dims(m, item(m, args, 2), t->shape, &t->ndim);
    if (!r)
        r = dims(m, item(m, args, 3), t->stride, &n);
    if (!r && n != t->ndim)
        r = bad(m, "a tensor's shape and strides differ in length");
    if (r)
        return r;
    m->top -= 2;
    return push(m, (struct value){.kind = V_TENSOR, .i = m->tensors++});
}

static int op_reduce(struct machine *m) {
    const struct value *args = peek(m, 0), *f = peek(m, 1);
    if (!f || f->kind != V_GLOBAL || args->kind != V_TUPLE)
        return bad(m, "a call of something that is not callable");
    if (f->i == G_REBUILD_TENSOR)
        return rebuild_tensor(m, args);
    if (f->i == G_REBUILD_PARAMETER) {
        const struct value *t = item(m, args, 0);
        if (!t || t->kind != V_TENSOR)
            return bad(m, "a parameter without a tensor");
        struct value v = *t;
        m->top -= 2;
        return push(m, v);
    }
    if (f->i != G_ORDERED_DICT || args->n != 0)
        return bad(m, "a call that makes no tensor");
    m->top -= 2;
    return push(m, (struct value){.kind = V_DICT});
}

/* Keys and values into the dict below; tensors get their names. Where the same tensor stands
 * under two names the second is a copy. */
static int set_items(struct machine *m, int n) {
    if (n % 2 || n >= m->top || m->value[m->stack[m->top - n - 1]].kind != V_DICT)
        return bad(m, "items for something that is no dict");
    for (int i = 0; i < n; i += 2) {
        const struct value *k = &m->value[m->stack[m->top - n + i]];
        const struct value *v = &m->value[m->stack[m->top - n + i + 1]];
        if (v->kind != V_TENSOR)
            continue;
        trm_pickle_tensor *t = &m->tensor[v->i];
        if (k->kind != V_TEXT || k->n == 0 || k->n >= sizeof t->name || memchr(k->s, 0, k->n))
            return bad(m, "a tensor's name is not a short text");
        if (t->name[0]) {
            if (m->tensors >= m->room)
                return bad(m, "too many tensors");
            m->tensor[m->tensors] = *t;
            t = &m->tensor[m->tensors++];
        }
        memcpy(t->name, k->s, k->n);
        t->name[k->n] = 0;
    }
    m->top -= n;
    return TRM_OK;
}

static int memo_put(struct machine *m, uint64_t at) {
    if (!m->top || at >= (uint64_t)m->most)
        return bad(m, "the memo is used wrongly");
    m->memo[at] = m->stack[m->top - 1];
    return TRM_OK;
}

static int memo_get(struct machine *m, uint64_t at) {
    if (at >= (uint64_t)m->most || m->memo[at] < 0 || m->top >= m->most)
        return bad(m, "the memo is used wrongly");
    m->stack[m->top++] = m->memo[at];
    return TRM_OK;
}

static int op_text(struct machine *m, int bytes) {
    uint64_t n;
    const uint8_t *s;
    if (!number(m, bytes, &n) || n > 1 << 20 || !take(m, &s, (size_t)n))
        return bad(m, "a text is cut off");
    return push(m, (struct value){.kind = V_TEXT, .s = s, .n = (size_t)n});
}

static int op_int(struct machine *m, int bytes) {
    uint64_t n;
    if (!number(m, bytes, &n))
        return bad(m, "a number is cut off");
    int64_t i = bytes == 4 ? (int32_t)(uint32_t)n : (int64_t)n;
    return push(m, (struct value){.kind = V_INT, .i = i});
}

static int op_long(struct machine *m) {
    uint64_t n, v;
    if (!number(m, 1, &n) || n > 8 || !number(m, (int)n, &v))
        return bad(m, "a number is cut off or too large");
    if (n && n < 8 && v >> (8 * n - 1))
        v |= ~(uint64_t)0 << (8 * n);
    return push(m, (struct value){.kind = V_INT, .i = (int64_t)v});
}

static int op_mark_items(struct machine *m, uint8_t op) {
    int n = since_mark(m);
    if (n < 0)
        return TRM_E_FORMAT;
    m->marks--;
    return op == 't' ? make_tuple(m, n) : set_items(m, n);
}

/* BUILD gives the state_dict its _metadata: dropped. */
static int op_build(struct machine *m) {
    if (m->top < 2)
        return bad(m, "BUILD without an object");
    m->top--;
    return TRM_OK;
}

static int op_mark(struct machine *m) {
    if (m->marks >= 1000)
        return bad(m, "marks are nested too deeply");
    m->mark[m->marks++] = m->top;
    return TRM_OK;
}

static int op_skip(struct machine *m, size_t n) {
    const uint8_t *s;
    return take(m, &s, n) ? TRM_OK : bad(m, "cut off");
}

static int op_memo(struct machine *m, uint8_t op) {
    uint64_t at;
    if (!number(m, op == 'q' || op == 'h' ? 1 : 4, &at))
        return bad(m, "cut off");
    return op == 'q' || op == 'r' ? memo_put(m, at) : memo_get(m, at);
}

static int memoize(struct machine *m) {
    return memo_put(m, (uint64_t)m->memos++);
}

static int step(struct machine *m, uint8_t op) {
    switch (op) {
    case 0x80: /* PROTO */
        return op_skip(m, 1);
    case 0x95: /* FRAME */
        return op_skip(m, 8);
    case '(':
        return op_mark(m);
    case 'c':
        return read_global(m);
    case 0x93:
        return op_stack_global(m);
    case ')':
        return make_tuple(m, 0);
    case 0x85:
    case 0x86:
    case 0x87:
        return make_tuple(m, op - 0x84);
    case 't':
    case 'u':
        return op_mark_items(m, op);
    case 's':
        return set_items(m, 2);
    case '}':
        return push(m, (struct value){.kind = V_DICT});
    case 'R':
        return op_reduce(m);
    case 'b':
        return op_build(m);
    case 'Q':
        return op_persid(m);
    case 'X':
        return op_text(m, 4);
    case 0x8c:
        return op_text(m, 1);
    case 'K':
        return op_int(m, 1);
    case 'M':
        return op_int(m, 2);
    case 'J':
        return op_int(m, 4);
    case 0x8a:
        return op_long(m);
    case 'N':
        return push(m, (struct value){.kind = V_NONE});
    case 0x88:
    case 0x89:
        return push(m, (struct value){.kind = V_BOOL, .i = op == 0x88});
    case 'q':
    case 'r':
    case 'h':
    case 'j':
        return op_memo(m, op);
    case 0x94:
        return memoize(m);
    default:
        return trm_fail(m->err, TRM_E_UNSUPPORTED,
            "pickle: opcode 0x%02x is not one that a state_dict of tensors needs", op);
    }
}

static int run(struct machine *m) {
    while (m->p < m->end) {
        uint8_t op = *m->p++;
        if (op == '.') {
            const struct value *v = peek(m, 0);
            return v && v->kind == V_DICT ? TRM_OK : bad(m, "holds no state_dict");
        }
        int r = step(m, op);
        if (r)
            return r;
    }
    return bad(m, "ends without a STOP");
}

/* Tensors that never got a name (optimizer states in a list, say) are left out. */
static int drop_unnamed(trm_pickle_tensor *t, int n) {
    int kept = 0;
    for (int i = 0; i < n; i++)
        if (t[i].name[0])
            t[kept++] = t[i];
    return kept;
}

int trm_pickle_read(
    trm_pickle_tensor **out, int *count, const uint8_t *data, size_t size, trm_error *err) {
    /* No opcode makes more than one value or memo, and each needs at least a byte. */
    size_t most = size < MAX_VALUES ? size + 1 : MAX_VALUES;
    struct machine m = {.p = data,
        .end = data + size,
        .err = err,
        .most = (int)most,
        .value = calloc(most, sizeof(struct value)),
        .stack = calloc(most, sizeof(int)),
        .mark = calloc(1001, sizeof(int)),
        .memo = malloc(most * sizeof(int)),
        .items = calloc(2 * most, sizeof(int)),
        .room = size / 8 + 2 < MAX_TENSORS ? (int)(size / 8) + 2 : MAX_TENSORS};
    int r = TRM_OK;
    m.tensor = calloc((size_t)m.room, sizeof *m.tensor);
    if (!m.value || !m.stack || !m.mark || !m.memo || !m.items || !m.tensor)
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for a pickle");
    for (size_t i = 0; !r && i < most; i++)
        m.memo[i] = -1;
    if (!r)
        r = run(&m);
    free(m.value);
    free(m.stack);
    free(m.mark);
    free(m.memo);
    free(m.items);
    if (r) {
        free(m.tensor);
        return r;
    }
    *count = drop_unnamed(m.tensor, m.tensors);
    *out = m.tensor;
    return TRM_OK;
}
