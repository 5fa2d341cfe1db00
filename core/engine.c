/* Engine and slots over a CPU backend, or over a device that runs whole steps itself. On the
 * CPU the team's members, as they become free, take slots through some passes of a supervision step
 * each with its own buffers, so members meet only at the end of a step. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "device.h"
#include "net.h"
#include "team.h"
#include "trm/engine.h"

struct slot {
    int cells, s; /* s: padded positions of its plan; 0 = empty */
    int cycles;   /* T of its steps */
    float *e, *y, *z, *rope, *logits, *confidence;
    int32_t *answer, *near;
    float q[2];
    uint64_t loaded;
};

/* Slots that pass the network together, in the step in progress. */
struct group {
    int first, n, passes, all; /* of step_slots; passes of the network done, of all in the step */
    bool busy;
};

struct trm_engine {
    const trm_model *model;
    trm_net *net;
    trm_team *team;
    trm_work **work;
    const trm_device_lib *lib; /* of the device, or NULL: then net, team and work are NULL */
    trm_device *device;
    trm_device_output *output; /* of a step on the device (slots) */
    int *equal;                /* slots that a step on the device takes together (slots) */
    trm_error late;            /* a perturbation that failed: told by the next step */
    const char *name;          /* of the backend */
    struct slot *slot;
    int slots, max_s;
    bool keep_logits;
    size_t slot_bytes;
    void *block;
    /* The step in progress. The lock guards what members change of the groups. */
    const int *step_slots;
    struct group *group;
    int groups, left; /* left: passes that nobody has begun, of all groups */
    pthread_mutex_t lock;
};

/* Slot buffers, one block for all; floats first so that rows stay aligned. */
static size_t slot_layout(const trm_engine *e, struct slot *s, char *base) {
    const trm_config *c = &e->model->config;
    size_t sd = (size_t)e->max_s * (size_t)c->hidden_size, l = (size_t)c->seq_len;
    size_t hd = (size_t)(c->hidden_size / c->num_heads), v = (size_t)c->vocab_size;
    size_t near = trm_config_near(c) ? 4 * (size_t)e->max_s : 0;
    sd = e->lib ? 0 : sd; /* latents are the device's */
    size_t n[8] = {
        sd, sd, sd, trm_config_rotates(c) ? (size_t)e->max_s * hd : 0, l * v, l, l, near};
    float **to[6] = {&s->e, &s->y, &s->z, &s->rope, &s->logits, &s->confidence};
    size_t used = 0;
    for (int i = 0; i < 8; i++) {
        void *at = base && n[i] ? base + used : NULL;
        if (i < 6)
            *to[i] = at;
        else
            *(i == 6 ? &s->answer : &s->near) = at;
        used += (n[i] * sizeof(float) + 63) / 64 * 64;
    }
    return used;
}

static int make_slots(trm_engine *e, trm_error *err) {
    struct slot dry;
    e->slot_bytes = slot_layout(e, &dry, NULL);
    e->slot = calloc((size_t)e->slots, sizeof *e->slot);
    e->group = calloc((size_t)e->slots, sizeof *e->group);
    e->block = aligned_alloc(64, e->slot_bytes * (size_t)e->slots);
    if (!e->slot || !e->group || !e->block)
        return trm_fail(
            err, TRM_E_NOMEM, "out of memory for %d slots of %zu bytes", e->slots, e->slot_bytes);
    memset(e->block, 0, e->slot_bytes * (size_t)e->slots);
    for (int i = 0; i < e->slots; i++)
        (void)slot_layout(e, &e->slot[i], (char *)e->block + (size_t)i * e->slot_bytes);
    return TRM_OK;
}

static int make_work(trm_engine *e, int threads, trm_error *err) {
    e->work = calloc((size_t)threads, sizeof *e->work);
    if (!e->work)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for an engine");
    int r = TRM_OK;
    for (int i = 0; i < threads && !r; i++) {
        trm_plan *plan;
        r = trm_work_new(&e->work[i], e->net, e->max_s, err);
        if (!r)
            r = trm_work_plan(&plan, e->work[i], e->max_s, 0, err);
    }
    return r;
}

/* Slots come last: the device may have room for fewer than were asked for. */
static int make_device(trm_engine *e, const char *backend, trm_error *err) {
    if (!trm_device_takes(&e->model->config))
        return trm_fail(err, TRM_E_UNSUPPORTED, "models with frames run on the CPU backends");
    trm_device_options o = trm_device_options_of(e->model, backend, e->slots);
    o.keep_logits = e->keep_logits;
    int r = e->lib->open(&e->device, &o, err);
    if (r)
        return r;
    e->name = o.backend;
    e->slots = e->lib->slots(e->device);
    e->output = calloc((size_t)e->slots, sizeof *e->output);
    e->equal = calloc((size_t)e->slots, sizeof *e->equal);
    return e->output && e->equal ? make_slots(e, err)
                                 : trm_fail(err, TRM_E_NOMEM, "out of memory for slots");
}

static int make_cpu(trm_engine *e, const trm_engine_options *o, trm_error *err) {
    const trm_mm_lib *lib;
    const trm_model *m = e->model;
    int r = trm_backend_find(&lib, o->backend, err);
    if (!r)
        r = trm_team_new(&e->team, o->threads, lib->enter_thread, err);
    if (!r)
        r = trm_net_new(&e->net, &m->config, &m->layout, m->w, lib, false, err);
    if (!r)
        r = make_slots(e, err);
    if (!r)
        r = make_work(e, o->threads, err);
    if (!r)
        e->name = lib->name;
    return r;
}

int trm_engine_new(
    trm_engine **out, const trm_model *m, const trm_engine_options *o, trm_error *err) {
    if (o->threads < 1 || o->slots < 1)
        return trm_fail(err, TRM_E_ARG, "an engine needs at least one thread and one slot");
    trm_engine *e = calloc(1, sizeof *e);
    if (!e)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for an engine");
    (void)pthread_mutex_init(&e->lock, NULL);
    e->model = m;
    e->slots = o->slots;
    e->keep_logits = o->keep_logits;
    e->max_s = trm_plan_length(&m->config, trm_config_positions(&m->config));
    e->lib = trm_device_find(o->backend);
    int r = e->lib ? make_device(e, o->backend, err) : make_cpu(e, o, err);
    if (r == TRM_E_UNSUPPORTED && e->lib && trm_backend_is_auto(o->backend)) {
        e->lib = NULL; /* a model that the device cannot take */
        r = make_cpu(e, o, err);
    }
    if (r) {
        trm_engine_free(e);
        return r;
    }
    *out = e;
    return TRM_OK;
}

void trm_engine_free(trm_engine *e) {
    if (!e)
        return;
    if (e->lib && e->device)
        e->lib->close(e->device);
    free(e->output);
    free(e->equal);
    for (int i = 0; e->work && i < trm_team_size(e->team); i++)
        trm_work_free(e->work[i]);
    free(e->work);
    trm_team_free(e->team);
    trm_net_free(e->net);
    free(e->slot);
    free(e->group);
    free(e->block);
    (void)pthread_mutex_destroy(&e->lock);
    free(e);
}

const char *trm_engine_backend(const trm_engine *e) {
    return e->name;
}

bool trm_engine_on_gpu(const trm_engine *e) {
    return e->device != NULL;
}

const trm_model *trm_engine_model(const trm_engine *e) {
    return e->model;
}

int trm_engine_slots(const trm_engine *e) {
    return e->slots;
}

size_t trm_engine_slot_bytes(const trm_engine *e) {
    return e->device ? e->lib->slot_bytes(e->device) : e->slot_bytes;
}

size_t trm_engine_bytes(const trm_engine *e) {
    if (e->device)
        return e->lib->bytes(e->device);
    size_t n = e->net->bytes + e->slot_bytes * (size_t)e->slots;
    for (int i = 0; i < trm_team_size(e->team); i++)
        n += e->work[i]->bytes;
    return n;
}

/* A frame's entries, and cells within 30 rows and columns of where the input begins. */
static int check_frame(const trm_input *in, trm_error *err) {
    static const uint8_t most[TRM_FRAME_CODE] = {7, 9, 9, 9, 9, 9, 9, 9, 9, 9, 29, 29, 30, 30};
    for (int i = 0; in->frame && i < TRM_FRAME_CODE; i++)
        if (in->frame[i] > most[i])
            return trm_fail(err, TRM_E_ARG, "entry %d of the frame is %d", i, in->frame[i]);
    int down = in->frame ? in->frame[10] : 0, right = in->frame ? in->frame[11] : 0;
    for (int i = 0; i < in->cells; i++)
        if (in->row[i] < down || in->row[i] >= down + TRM_FRAME_SIDE || in->col[i] < right ||
            in->col[i] >= right + TRM_FRAME_SIDE)
            return trm_fail(err, TRM_E_ARG, "cell %d lies outside its frame", i);
    return TRM_OK;
}

static int check_input(const trm_engine *e, int slot, const trm_input *in, trm_error *err) {
    const trm_config *c = &e->model->config;
    if (slot < 0 || slot >= e->slots)
        return trm_fail(err, TRM_E_ARG, "there is no slot %d", slot);
    if (in->cells < 1 || in->cells > c->seq_len || (in->cells != c->seq_len && !c->packed))
        return trm_fail(err, TRM_E_ARG, "%d cells do not fit a model of %d%s", in->cells,
            c->seq_len, c->packed ? " at most" : "");
    if (c->packed && trm_config_places(c) && (!in->row || !in->col))
        return trm_fail(err, TRM_E_ARG, "packed cells need rows and columns");
    if (in->puzzle_identifier < 0 ||
        (c->puzzle_emb_ndim && in->puzzle_identifier >= c->num_puzzle_identifiers))
        return trm_fail(err, TRM_E_ARG, "puzzle identifier %d is not in 0..%d",
            in->puzzle_identifier, c->num_puzzle_identifiers - 1);
    if (c->frames) {
        int r = check_frame(in, err);
        if (r)
            return r;
    }
    for (int i = 0; i < in->cells; i++)
        if (in->tokens[i] < 0 || in->tokens[i] >= c->vocab_size)
            return trm_fail(err, TRM_E_ARG, "token %d of cell %d is not in 0..%d", in->tokens[i], i,
                c->vocab_size - 1);
    return TRM_OK;
}

static const uint8_t *frame_of(const trm_input *in) {
    static const uint8_t identity[TRM_FRAME_CODE] = {
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, TRM_FRAME_SIDE, TRM_FRAME_SIDE};
    return in->frame ? in->frame : identity;
}

static void embed(trm_engine *e, struct slot *s, const trm_input *in) {
    int d = e->model->config.hidden_size, real = trm_config_span(&e->model->config, in->cells);
    const trm_shown shown = {
        in->tokens, in->cells, in->puzzle_identifier, in->row, in->col, frame_of(in)};
    trm_embed(s->e, e->net, &shown);
    memset(s->e + (ptrdiff_t)real * d, 0, (size_t)(s->s - real) * (size_t)d * sizeof(float));
}

/* Latents as H_init and L_init, padding zero. */
static void begin_latents(trm_engine *e, struct slot *s) {
    int d = e->model->config.hidden_size, real = trm_config_span(&e->model->config, s->cells);
    const float *h = trm_net_weight(e->net, TRM_W_H_INIT, -1);
    const float *l = trm_net_weight(e->net, TRM_W_L_INIT, -1);
    for (int i = 0; i < real; i++) {
        memcpy(s->y + (ptrdiff_t)i * d, h, (size_t)d * sizeof(float));
        memcpy(s->z + (ptrdiff_t)i * d, l, (size_t)d * sizeof(float));
    }
    size_t pad = (size_t)(s->s - real) * (size_t)d * sizeof(float);
    memset(s->y + (ptrdiff_t)real * d, 0, pad);
    memset(s->z + (ptrdiff_t)real * d, 0, pad);
}

static void load_device(trm_engine *e, int slot, const trm_input *in) {
    const struct slot *s = &e->slot[slot];
    trm_device_input puzzle = {.cells = s->cells,
        .real = trm_config_span(&e->model->config, s->cells),
        .s = s->s,
        .puzzle = in->puzzle_identifier,
        .tokens = in->tokens,
        .rope = s->rope,
        .near = s->near};
    e->lib->load(e->device, slot, &puzzle);
}

static void count_load(struct slot *s) {
    static atomic_uint_fast64_t loads;
    s->loaded = atomic_fetch_add(&loads, 1) + 1;
}

int trm_engine_load(trm_engine *e, int slot, const trm_input *in, trm_error *err) {
    const trm_config *c = &e->model->config;
    int r = check_input(e, slot, in, err);
    if (r)
        return r;
    struct slot *s = &e->slot[slot];
    s->cells = in->cells;
    s->cycles = c->H_cycles;
    s->s = trm_plan_length(c, trm_config_span(c, in->cells));
    trm_places(s->rope, s->near, c, s->s, in->cells, in->row, in->col);
    count_load(s);
    if (e->device) {
        load_device(e, slot, in);
        return TRM_OK;
    }
    for (int i = 0; i < trm_team_size(e->team); i++) {
        trm_plan *plan; /* made here, where an error can be told, not in a step */
        r = trm_work_plan(&plan, e->work[i], s->s, 0, err);
        if (r)
            return r;
    }
    embed(e, s, in);
    begin_latents(e, s);
    return TRM_OK;
}

/* Latents go there and back: a load on the device makes them anew. */
static int change_device(trm_engine *e, int slot, const trm_input *in, trm_error *err) {
    size_t sd = (size_t)e->slot[slot].s * (size_t)e->model->config.hidden_size;
    float *y = malloc(2 * sd * sizeof *y);
    if (!y)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for latents");
    int r = e->lib->latents_get(e->device, slot, y, y + sd, err);
    if (!r) {
        load_device(e, slot, in);
        r = e->lib->latents_put(e->device, slot, y, y + sd, err);
    }
    free(y);
    return r;
}

int trm_engine_change(trm_engine *e, int slot, const trm_input *in, trm_error *err) {
    int r = check_input(e, slot, in, err);
    if (r)
        return r;
    struct slot *s = &e->slot[slot];
    if (in->cells != s->cells)
        return trm_fail(err, TRM_E_ARG, "slot %d holds a puzzle of %d cells, not %d", slot,
            s->cells, in->cells);
    count_load(s);
    if (e->device)
        return change_device(e, slot, in, err);
    embed(e, s, in);
    return TRM_OK;
}

void trm_engine_cycles(trm_engine *e, int slot, int cycles) {
    e->slot[slot].cycles = cycles;
}

uint64_t trm_engine_loaded(const trm_engine *e, int slot) {
    return e->slot[slot].loaded;
}

static void perturb(float *y, float *z, int n, float sigma, trm_rng *rng) {
    for (int i = 0; i < n; i++) {
        y[i] += sigma * (float)trm_rng_normal(rng);
        z[i] += sigma * (float)trm_rng_normal(rng);
    }
}

/* There and back: seldom enough to be done on the host. */
static int perturb_device(trm_engine *e, int slot, int n, float sigma, trm_rng *rng) {
    size_t sd = (size_t)e->slot[slot].s * (size_t)e->model->config.hidden_size;
    float *y = malloc(2 * sd * sizeof *y);
    if (!y)
        return trm_fail(&e->late, TRM_E_NOMEM, "out of memory for latents");
    int r = e->lib->latents_get(e->device, slot, y, y + sd, &e->late);
    if (!r) {
        perturb(y, y + sd, n, sigma, rng);
        r = e->lib->latents_put(e->device, slot, y, y + sd, &e->late);
    }
    free(y);
    return r;
}

void trm_engine_perturb(trm_engine *e, int slot, float sigma, trm_rng *rng) {
    struct slot *s = &e->slot[slot];
    int n = trm_config_span(&e->model->config, s->cells) * e->model->config.hidden_size;
    if (e->device)
        (void)perturb_device(e, slot, n, sigma, rng);
    else
        perturb(s->y, s->z, n, sigma, rng);
}

/* Writes act(y + z + e), or act(y + z), to w->xa and the sum to z, or y. */
static void sum_up(const trm_engine *e, trm_work *w, struct slot *const s[], int n, bool z) {
    const trm_rows *rows = e->net->rows;
    size_t sd = (size_t)s[0]->s * (size_t)e->model->config.hidden_size;
    for (int i = 0; i < n; i++) {
        void *xa = (char *)w->xa + (size_t)i * sd * rows->act_size;
        if (z)
            rows->add(s[i]->z, xa, s[i]->z, s[i]->y, s[i]->e, sd);
        else
            rows->add(s[i]->y, xa, s[i]->y, s[i]->z, NULL, sd);
    }
}

static void read_out(const trm_engine *e, struct slot *s) {
    const trm_config *c = &e->model->config;
    trm_lm_head(s->logits, e->net, s->y, s->cells);
    e->net->rows->argmax(s->answer, s->confidence, s->logits, s->cells, c->vocab_size);
    trm_q_head(s->q, e->net, s->y, trm_config_span(c, s->cells));
}

/* Some passes of the T cycles of algorithm 3 of arXiv 2510.04871, without their gradient: of each
 * cycle n z-updates and one y-update; for one slot, or for a group of equal length at once. */
static void advance(const trm_engine *e, trm_work *w, const trm_plan *plan, struct slot *const s[],
    int n, int first, int passes) {
    const trm_config *c = &e->model->config;
    trm_seq seq[TRM_GROUP];
    float *z[TRM_GROUP], *y[TRM_GROUP];
    for (int i = 0; i < n; i++) {
        seq[i] = (trm_seq){trm_config_span(c, s[i]->cells), s[i]->rope, s[i]->near};
        z[i] = s[i]->z;
        y[i] = s[i]->y;
    }
    for (int i = first; i < first + passes; i++) {
        bool inner = i % (c->L_cycles + 1) < c->L_cycles;
        sum_up(e, w, s, n, inner);
        trm_net_pass_group(w, plan, inner ? z : y, seq, n);
    }
}

static int passes_of_step(const trm_engine *e, const struct slot *s) {
    return s->cycles * (e->model->config.L_cycles + 1);
}

static bool go_together(const struct slot *a, const struct slot *b) {
    return a->s == b->s && a->cycles == b->cycles;
}

/* Slots of equal length and cycles, one, two or four, go together while that leaves something for
 * each member. */
static void make_groups(trm_engine *e, int n) {
    int team = trm_team_size(e->team), at = 0;
    e->left = 0;
    for (e->groups = 0; at < n; e->groups++) {
        const struct slot *s = &e->slot[e->step_slots[at]];
        int equal = 1, size = 1, all = passes_of_step(e, s);
        int most = n - at - (team - 1 - e->groups % team);
        int wanted = trm_group_size(&e->model->config, s->s, n, team);
        while (
            equal < wanted && equal < most && go_together(s, &e->slot[e->step_slots[at + equal]]))
            equal++;
        while (2 * size <= equal)
            size *= 2;
        e->group[e->groups] = (struct group){at, size, 0, all, false};
        e->left += all;
        at += size;
    }
}

/* The group that has most before it, of those that nobody has, and how many passes it is to be
 * taken through; NULL where there is none left. At the end of a step these are few, so that no
 * member waits long for the last. */
static struct group *take(trm_engine *e, int *passes) {
    struct group *best = NULL;
    int most = 0, cycle = e->model->config.L_cycles + 1;
    (void)pthread_mutex_lock(&e->lock);
    for (int k = 0; k < e->groups; k++) {
        struct group *g = &e->group[k];
        if (g->busy || g->all - g->passes <= most)
            continue;
        best = g;
        most = g->all - g->passes;
    }
    if (best) {
        int n = e->left / (2 * trm_team_size(e->team));
        n = n < 1 ? 1 : n > cycle ? cycle : n;
        *passes = n < most ? n : most;
        e->left -= *passes;
        best->busy = true;
    }
    (void)pthread_mutex_unlock(&e->lock);
    return best;
}

static void give_back(trm_engine *e, struct group *g, int passes) {
    (void)pthread_mutex_lock(&e->lock);
    g->passes += passes;
    g->busy = false;
    (void)pthread_mutex_unlock(&e->lock);
}

/* Members are dealt no share beforehand, and little at a time: one whose processor others use too
 * would hold up all of them, and so would the odd puzzle of three on two threads. */
static void step_member(void *arg, int member) {
    trm_engine *e = arg;
    int passes;
    for (struct group *g = take(e, &passes); g; g = take(e, &passes)) {
        const int *first = e->step_slots + g->first;
        struct slot *s[TRM_GROUP] = {&e->slot[first[0]]};
        trm_plan *plan;
        int n = g->n;
        for (int i = 1; i < n; i++)
            s[i] = &e->slot[first[i]];
        if (trm_work_plan(&plan, e->work[member], s[0]->s, 0, NULL))
            return; /* cannot be: trm_engine_load() has made it */
        advance(e, e->work[member], plan, s, n, g->passes, passes);
        for (int i = 0; i < n && g->passes + passes == g->all; i++)
            read_out(e, s[i]);
        give_back(e, g, passes);
    }
}

/* Slots whose steps have equally many cycles. */
static int step_equal(trm_engine *e, const int *slots, int n, int cycles, trm_error *err) {
    for (int i = 0; i < n; i++) {
        const struct slot *s = &e->slot[slots[i]];
        e->output[i] = (trm_device_output){.answer = s->answer,
            .confidence = s->confidence,
            .logits = e->keep_logits ? s->logits : NULL};
    }
    int r = e->lib->step(e->device, slots, n, cycles, e->output, err);
    for (int i = 0; i < n && !r; i++)
        memcpy(e->slot[slots[i]].q, e->output[i].q, sizeof e->output[i].q);
    return r;
}

static int step_device(trm_engine *e, const int *slots, int n, trm_error *err) {
    int most = 0, equal, r = TRM_OK;
    if (e->late.code)
        return trm_fail(err, e->late.code, "%s", e->late.text);
    for (int i = 0; i < n; i++)
        most = e->slot[slots[i]].cycles > most ? e->slot[slots[i]].cycles : most;
    for (int cycles = 1; cycles <= most && !r; cycles++) {
        for (int i = equal = 0; i < n; i++)
            if (e->slot[slots[i]].cycles == cycles)
                e->equal[equal++] = slots[i];
        if (equal)
            r = step_equal(e, e->equal, equal, cycles, err);
    }
    return r;
}

int trm_engine_step(trm_engine *e, const int *slots, int n, trm_error *err) {
    for (int i = 0; i < n; i++)
        if (slots[i] < 0 || slots[i] >= e->slots || !e->slot[slots[i]].s)
            return trm_fail(err, TRM_E_ARG, "slot %d holds no puzzle", slots[i]);
    if (e->device)
        return step_device(e, slots, n, err);
    e->step_slots = slots;
    make_groups(e, n);
    e->net->mm->enter_thread(); /* the caller may be another thread than last time */
    trm_team_run(e->team, step_member, e);
    return TRM_OK;
}

const int32_t *trm_engine_answer(const trm_engine *e, int slot) {
    return e->slot[slot].answer;
}

const float *trm_engine_confidence(const trm_engine *e, int slot) {
    return e->slot[slot].confidence;
}

float trm_engine_halt_logit(const trm_engine *e, int slot) {
    return e->slot[slot].q[0];
}

const float *trm_engine_q_logits(const trm_engine *e, int slot) {
    return e->slot[slot].q;
}

const float *trm_engine_logits(const trm_engine *e, int slot) {
    return e->keep_logits ? e->slot[slot].logits : NULL;
}
