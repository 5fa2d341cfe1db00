/* Lessons: a batch of training slots in the host's memory. */
#include <stdlib.h>
#include <string.h>

#include "lesson.h"

float *trm_floats(size_t n) {
    float *p = aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64);
    if (p)
        memset(p, 0, n * sizeof(float));
    return p;
}

static int lesson_make(trm_lesson *l, const trm_config *c, trm_error *err) {
    size_t n = (size_t)c->seq_len, s = (size_t)trm_plan_length(c, trm_config_positions(c));
    size_t hd = (size_t)(c->hidden_size / c->num_heads), sd = s * (size_t)c->hidden_size;
    bool rotates = trm_config_rotates(c), near = trm_config_near(c);
    l->tokens = calloc(n, sizeof *l->tokens);
    l->labels = calloc(n, sizeof *l->labels);
    l->answer = calloc(n, sizeof *l->answer);
    l->row = calloc(n, 1);
    l->col = calloc(n, 1);
    l->y = trm_floats(sd);
    l->z = trm_floats(sd);
    l->e = trm_floats(sd);
    l->rope = rotates ? trm_floats(s * hd) : NULL;
    l->near = near ? calloc(4 * s, sizeof *l->near) : NULL;
    if (!l->tokens || !l->labels || !l->answer || !l->row || !l->col || !l->y || !l->z || !l->e ||
        (rotates && !l->rope) || (near && !l->near))
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a lesson");
    l->fresh = true;
    return TRM_OK;
}

int trm_lessons_new(trm_lesson **out, const trm_config *c, int n, trm_error *err) {
    trm_lesson *l = calloc((size_t)n, sizeof *l);
    int r = l ? TRM_OK : trm_fail(err, TRM_E_NOMEM, "out of memory for a batch of %d", n);
    for (int i = 0; i < n && !r; i++)
        r = lesson_make(&l[i], c, err);
    if (r) {
        trm_lessons_free(l, n);
        return r;
    }
    *out = l;
    return TRM_OK;
}

void trm_lessons_free(trm_lesson *lessons, int n) {
    for (int i = 0; lessons && i < n; i++) {
        trm_lesson *l = &lessons[i];
        void *all[] = {
            l->tokens, l->labels, l->answer, l->row, l->col, l->y, l->z, l->e, l->rope, l->near};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            free(all[j]);
    }
    free(lessons);
}

void trm_lesson_places(trm_lesson *l, const trm_config *c) {
    l->s = trm_plan_length(c, trm_config_span(c, l->cells));
    trm_places(
        l->rope, l->near, c, l->s, l->cells, c->packed ? l->row : NULL, c->packed ? l->col : NULL);
}

bool trm_lesson_unsat(const trm_lesson *l, const trm_config *c) {
    for (int i = 0; i < l->cells; i++)
        if (l->labels[i] >= 0)
            return false;
    return c->unsat_head;
}
