/* Backward bodies that read or write act elements, included by bodies_back.h once per element
 * type. Not a header of its own. */

TRM_BODY FN(norm_back)(const trm_k_norm_back *a, long row, int lane, float *scratch) {
    float *g = a->g + row * a->d, dot = 0;
    const ACT *y = (const ACT *)a->y + row * a->d;
    ACT *ga = (ACT *)a->ga + row * a->d;
    (void)scratch;
    for (int i = 4 * lane; i < a->d; i += 4 * TRM_LANES) {
        trm_four x = four_get(g + i), v = GET4(y + i);
        for (int k = 0; k < 4; k++)
            dot += x.v[k] * v.v[k];
    }
    float mean = lanes_sum(dot) / (float)a->d, inv = a->inv[row];
    for (int i = 4 * lane; i < a->d; i += 4 * TRM_LANES) {
        trm_four x = four_get(g + i), v = GET4(y + i);
        for (int k = 0; k < 4; k++)
            x.v[k] = inv * (x.v[k] - v.v[k] * mean);
        four_put(g + i, x);
        PUT4(ga + i, x);
    }
}

TRM_BODY FN(norm_t_back)(const trm_k_norm_t_back *a, long item, int lane, float *scratch) {
    (void)scratch;
    for (long c = item * 128 + 4 * lane; c < (item + 1) * 128 && c < a->columns;
         c += 4 * TRM_LANES) {
        trm_four mean = {{0, 0, 0, 0}}, inv = four_get(a->inv + c);
        for (int p = 0; p < a->s; p++) {
            long at = p * a->columns + c;
            trm_four x = four_get(a->g + at), v = GET4((const ACT *)a->y + at);
            for (int k = 0; k < 4; k++)
                mean.v[k] += x.v[k] * v.v[k];
        }
        for (int k = 0; k < 4; k++)
            mean.v[k] /= (float)a->s;
        for (int p = 0; p < a->s; p++) {
            long at = p * a->columns + c;
            trm_four x = four_get(a->g + at), v = GET4((const ACT *)a->y + at);
            for (int k = 0; k < 4; k++)
                x.v[k] = inv.v[k] * (x.v[k] - v.v[k] * mean.v[k]);
            four_put(a->g + at, x);
            PUT4((ACT *)a->ga + at, x);
        }
    }
}

TRM_BODY FN(swiglu_back)(const trm_k_swiglu_back *a, long item, int lane, float *scratch) {
    long row = item / a->chunks, first = item % a->chunks * TRM_CHUNK;
    long end = first + TRM_CHUNK < a->n ? first + TRM_CHUNK : a->n;
    ACT *gate = (ACT *)a->gu + row * 2 * a->n, *up = gate + a->n;
    ACT *dh = (ACT *)a->dh + row * a->n;
    (void)scratch;
    for (long i = first + 4 * lane; i < end; i += 4 * TRM_LANES) {
        trm_four g = GET4(gate + i), u = GET4(up + i), d = GET4(dh + i), h;
        for (int k = 0; k < 4; k++) {
            float x = g.v[k], s = 1.0f / (1.0f + expf(-x));
            h.v[k] = x * u.v[k] * s;
            g.v[k] = d.v[k] * u.v[k] * s * (1.0f + x * (1.0f - s));
            u.v[k] = d.v[k] * x * s;
        }
        PUT4(gate + i, g);
        PUT4(up + i, u);
        PUT4(dh + i, h);
    }
}

TRM_BODY FN(delta)(const trm_k_delta *a, long row, int lane, float *scratch) {
    int i, p;
    (void)scratch;
    place_of(a->shape, row, &i, &p);
    const ACT *o = (const ACT *)a->o + row * a->h * a->hd;
    const ACT *go = (const ACT *)a->go + row * a->h * a->hd;
    for (int h = 0; h < a->h; h++) {
        float sum = 0;
        for (int c = lane; c < a->hd; c += TRM_LANES)
            sum += GET(o[h * a->hd + c]) * GET(go[h * a->hd + c]);
        sum = lanes_sum(sum);
        if (lane == 0)
            a->delta[((long)i * a->h + h) * a->shape.s + p] = sum;
    }
}

TRM_BODY FN(softmax_back)(const trm_k_softmax_back *a, long row, int lane, float *scratch) {
    ACT *p = (ACT *)a->p + row * a->ld;
    const float *dp = a->dp + row * a->ld;
    float delta = a->delta[row];
    (void)scratch;
    for (int i = lane; i < a->ld; i += TRM_LANES) {
        float w = GET(p[i]); /* 0 where dp has no meaning */
        p[i] = PUT(w == 0.0f ? 0.0f : a->scale * w * (dp[i] - delta));
    }
}

TRM_BODY FN(units_back)(const trm_k_units_back *a, long item, int lane, float *scratch) {
    int u = (int)(item % 9), h = (int)(item / 9 % a->heads), kind = h % 3, d = a->heads * a->hd;
    long first = item / 9 / a->heads * 81, at = first * 3 * d + (long)h * a->hd;
    const ACT *q = (const ACT *)a->qkv + at, *g = (const ACT *)a->dout + first * d + h * a->hd;
    ACT *dq = (ACT *)a->dqkv + at;
    float *p = scratch, *ds = scratch + 81;
    FN(unit_dots)(p, q, q + d, 3 * d, 3 * d, kind, u, a->hd, lane);
    FN(unit_dots)(ds, g, q + 2 * d, d, 3 * d, kind, u, a->hd, lane);
    TRM_MEET();
    FN(unit_softmax)(p, a->scale, lane);
    TRM_MEET();
    for (int i = lane; i < 9; i += TRM_LANES) {
        float dot = 0;
        for (int j = 0; j < 9; j++)
            dot += p[i * 9 + j] * ds[i * 9 + j];
        for (int j = 0; j < 9; j++)
            ds[i * 9 + j] = a->scale * p[i * 9 + j] * (ds[i * 9 + j] - dot);
    }
    TRM_MEET();
    FN(unit_mix)(dq, ds, q + d, 3 * d, 3 * d, kind, u, a->hd, false, lane);
    FN(unit_mix)(dq + d, ds, q, 3 * d, 3 * d, kind, u, a->hd, true, lane);
    FN(unit_mix)(dq + 2 * d, p, g, 3 * d, d, kind, u, a->hd, true, lane);
}

/* A cell's weight of its own value against that of its neighbour, and the gradient of the score
 * between the two. q, k, v follow each other at d; g is the gradient of what was mixed. */
TRM_INLINE float FN(near_grad)(const ACT *own, const ACT *other, const ACT *g, int d, int hd,
    float scale, int lane, float *ds) {
    float w = FN(near_weight)(own, own + d, other + d, hd, scale, lane), sum = 0;
    for (int c = lane; c < hd; c += TRM_LANES)
        sum += GET(g[c]) * (GET(own[2 * d + c]) - GET(other[2 * d + c]));
    *ds = scale * w * (1.0f - w) * lanes_sum(sum);
    return w;
}

TRM_BODY FN(near_back)(const trm_k_near_back *a, long item, int lane, float *scratch) {
    int i, p, h = (int)(item % a->heads), d = a->heads * a->hd, hd = a->hd, way = h % 4;
    long row = item / a->heads, at = (long)h * hd;
    (void)scratch;
    place_of(a->shape, row, &i, &p);
    const int *near = a->near + (a->list[i] < 0 ? 0 : a->list[i]) * a->near_stride;
    int n = a->list[i] < 0 ? -1 : near[(long)way * a->max_s + p];       /* whom it looks at */
    int m = a->list[i] < 0 ? -1 : near[(long)(3 - way) * a->max_s + p]; /* who looks at it */
    const ACT *own = (const ACT *)a->qkv + row * 3 * d + at, *other = own, *looks = own;
    const ACT *g = (const ACT *)a->dout + row * d + at, *gm = g;
    ACT *to = (ACT *)a->dqkv + row * 3 * d + at;
    float w = 1, ds = 0, wm = 1, dsm = 0;
    if (n >= 0) {
        other = own + (long)(n - p) * 3 * d;
        w = FN(near_grad)(own, other, g, d, hd, a->scale, lane, &ds);
    }
    if (m >= 0) {
        looks = own + (long)(m - p) * 3 * d;
        gm = g + (long)(m - p) * d;
        wm = FN(near_grad)(looks, own, gm, d, hd, a->scale, lane, &dsm);
    }
    for (int c = lane; c < hd; c += TRM_LANES) {
        to[c] = PUT(ds * (GET(own[d + c]) - GET(other[d + c])));
        to[d + c] = PUT(ds * GET(own[c]) - dsm * GET(looks[c]));
        to[2 * d + c] = PUT(w * GET(g[c]) + (1.0f - wm) * GET(gm[c]));
    }
}
