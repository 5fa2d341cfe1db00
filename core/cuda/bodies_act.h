/* The bodies that read or write act elements, included by bodies.h once per element type, as
 * core/rows_act.h is. Not a header of its own. */

TRM_BODY FN(add)(const trm_k_add *a, long item, int lane, float *scratch) {
    long end = (item + 1) * TRM_CHUNK < a->n ? (item + 1) * TRM_CHUNK : a->n;
    (void)scratch;
    for (long i = item * TRM_CHUNK + 4 * lane; i < end; i += 4 * TRM_LANES) {
        trm_four x = four_get(a->a + i), y = four_get(a->b + i);
        for (int k = 0; k < 4; k++)
            x.v[k] += y.v[k];
        if (a->c) {
            y = four_get(a->c + i);
            for (int k = 0; k < 4; k++)
                x.v[k] += y.v[k];
        }
        four_put(a->x + i, x);
        PUT4((ACT *)a->xa + i, x);
    }
}

TRM_BODY FN(norm)(const trm_k_norm *a, long row, int lane, float *scratch) {
    float *x = a->x + row * a->d, sum = 0;
    ACT *xa = (ACT *)a->xa + row * a->d;
    (void)scratch;
    for (int i = 4 * lane; i < a->d; i += 4 * TRM_LANES) {
        trm_four f = four_get(x + i);
        for (int k = 0; k < 4; k++)
            sum += f.v[k] * f.v[k];
    }
    float inv = 1.0f / sqrtf(lanes_sum(sum) / (float)a->d + a->eps);
    if (lane == 0)
        a->inv[row] = inv;
    for (int i = 4 * lane; i < a->d; i += 4 * TRM_LANES) {
        trm_four f = four_get(x + i);
        for (int k = 0; k < 4; k++)
            f.v[k] *= inv;
        four_put(x + i, f);
        PUT4(xa + i, f);
    }
}

TRM_BODY FN(norm_t)(const trm_k_norm_t *a, long item, int lane, float *scratch) {
    (void)scratch;
    for (long c = item * 128 + 4 * lane; c < (item + 1) * 128 && c < a->columns;
         c += 4 * TRM_LANES) {
        trm_four sum = {{0, 0, 0, 0}};
        for (int p = 0; p < a->s; p++) {
            trm_four f = four_get(a->x + p * a->columns + c);
            for (int k = 0; k < 4; k++)
                sum.v[k] += f.v[k] * f.v[k];
        }
        for (int k = 0; k < 4; k++)
            sum.v[k] = 1.0f / sqrtf(sum.v[k] / (float)a->s + a->eps);
        four_put(a->inv + c, sum);
        for (int p = 0; p < a->s; p++) {
            trm_four f = four_get(a->x + p * a->columns + c);
            for (int k = 0; k < 4; k++)
                f.v[k] *= sum.v[k];
            four_put(a->x + p * a->columns + c, f);
            PUT4((ACT *)a->xa + p * a->columns + c, f);
        }
    }
}

TRM_BODY FN(swiglu)(const trm_k_swiglu *a, long item, int lane, float *scratch) {
    long row = item / a->chunks, first = item % a->chunks * TRM_CHUNK;
    long end = first + TRM_CHUNK < a->n ? first + TRM_CHUNK : a->n;
    const ACT *gate = (const ACT *)a->gu + row * 2 * a->n, *up = gate + a->n;
    ACT *h = (ACT *)a->h + row * a->n;
    (void)scratch;
    for (long i = first + 4 * lane; i < end; i += 4 * TRM_LANES) {
        trm_four g = GET4(gate + i), u = GET4(up + i);
        for (int k = 0; k < 4; k++)
            g.v[k] = g.v[k] * u.v[k] / (1.0f + expf(-g.v[k]));
        PUT4(h + i, g);
    }
}

/* Channel c of a head, rotated: its partner lies half a block away. */
TRM_INLINE float FN(rotated)(
    const ACT *head, int c, const float *cs, int hd, int block, float sign) {
    int half = block / 2, b = c / block, i = c % block;
    bool low = i < half;
    int k = b * half + (low ? i : i - half);
    float x = GET(head[c]), other = GET(head[low ? c + half : c - half]);
    float co = cs[k], si = sign * cs[hd / 2 + k];
    return low ? x * co - other * si : x * co + other * si;
}

TRM_BODY FN(heads)(const trm_k_heads *a, long row, int lane, float *scratch) {
    int i, p, d = a->h * a->hd;
    (void)scratch;
    place_of(a->shape, row, &i, &p);
    int slot = a->list[i] < 0 ? 0 : a->list[i];
    const float *cs = a->rope ? a->rope + slot * a->rope_stride + (long)p * a->hd : NULL;
    const ACT *from = (const ACT *)a->rows + row * a->ld + a->at;
    for (int c = lane; c < d; c += TRM_LANES) {
        int h = c / a->hd, k = c % a->hd;
        ACT *to = (ACT *)a->heads + (((long)i * a->h + h) * a->shape.s + p) * a->hd;
        to[k] = cs ? PUT(FN(rotated)(from + h * a->hd, k, cs, a->hd, a->block, a->sign)) : from[c];
    }
}

TRM_BODY FN(unheads)(const trm_k_unheads *a, long row, int lane, float *scratch) {
    int i, p, d = a->h * a->hd;
    (void)scratch;
    place_of(a->shape, row, &i, &p);
    int slot = a->list[i] < 0 ? 0 : a->list[i];
    const float *cs = a->rope ? a->rope + slot * a->rope_stride + (long)p * a->hd : NULL;
    ACT *to = (ACT *)a->rows + row * a->ld + a->at;
    for (int c = lane; c < d; c += TRM_LANES) {
        int h = c / a->hd, k = c % a->hd;
        const ACT *from = (const ACT *)a->heads + (((long)i * a->h + h) * a->shape.s + p) * a->hd;
        to[c] = cs ? PUT(FN(rotated)(from, k, cs, a->hd, a->block, a->sign)) : from[k];
    }
}

TRM_BODY FN(softmax)(const trm_k_softmax *a, long row, int lane, float *scratch) {
    long pair = row / a->s;
    int slot = a->list[a->first + pair / a->h];
    int keys = slot < 0 ? a->s : a->slot[slot].real;
    const float *s = a->scores + row * a->ld;
    ACT *p = (ACT *)a->p + row * a->ld;
    float lse;
    (void)scratch;
    if (a->again) {
        lse = a->lse[row];
    } else {
        float top = s[0], sum = 0;
        for (int i = lane; i < keys; i += TRM_LANES)
            top = fmaxf(top, s[i]);
        top = lanes_max(top);
        for (int i = lane; i < keys; i += TRM_LANES)
            sum += expf(a->scale * (s[i] - top));
        lse = a->scale * top + logf(lanes_sum(sum));
        if (lane == 0)
            a->lse[row] = lse;
    }
    for (int i = lane; i < a->ld; i += TRM_LANES)
        p[i] = PUT(i < keys ? expf(a->scale * s[i] - lse) : 0.0f);
}

/* The dot products of nine rows with nine others: s[i * 9 + j]. */
TRM_INLINE void FN(unit_dots)(
    float *s, const ACT *q, const ACT *k, int ldq, int ldk, int kind, int u, int hd, int lane) {
    for (int n = lane; n < 81; n += TRM_LANES) {
        const ACT *a = q + (long)trm_unit_cell(kind, u, n / 9) * ldq;
        const ACT *b = k + (long)trm_unit_cell(kind, u, n % 9) * ldk;
        float sum = 0;
        for (int c = 0; c < hd; c++)
            sum += GET(a[c]) * GET(b[c]);
        s[n] = sum;
    }
}

TRM_INLINE void FN(unit_softmax)(float *s, float scale, int lane) {
    for (int i = lane; i < 9; i += TRM_LANES) {
        float *r = s + i * 9, top = r[0], sum = 0;
        for (int j = 1; j < 9; j++)
            top = fmaxf(top, r[j]);
        for (int j = 0; j < 9; j++) {
            r[j] = expf(scale * (r[j] - top));
            sum += r[j];
        }
        for (int j = 0; j < 9; j++)
            r[j] /= sum;
    }
}

/* out[i] = sum over j of w[i][j] v[j], or of w[j][i] v[j] where `transposed`. */
TRM_INLINE void FN(unit_mix)(ACT *out, const float *w, const ACT *v, int ldo, int ldv, int kind,
    int u, int hd, bool transposed, int lane) {
    for (int n = lane; n < 9 * hd; n += TRM_LANES) {
        int i = n / hd, c = n % hd;
        float sum = 0;
        for (int j = 0; j < 9; j++)
            sum += w[transposed ? j * 9 + i : i * 9 + j] *
                   GET(v[(long)trm_unit_cell(kind, u, j) * ldv + c]);
        out[(long)trm_unit_cell(kind, u, i) * ldo + c] = PUT(sum);
    }
}

TRM_BODY FN(units)(const trm_k_units *a, long item, int lane, float *scratch) {
    int u = (int)(item % 9), h = (int)(item / 9 % a->heads), kind = h % 3, d = a->heads * a->hd;
    long first = item / 9 / a->heads * 81;
    const ACT *q = (const ACT *)a->qkv + first * 3 * d + (long)h * a->hd;
    FN(unit_dots)(scratch, q, q + d, 3 * d, 3 * d, kind, u, a->hd, lane);
    TRM_MEET();
    FN(unit_softmax)(scratch, a->scale, lane);
    TRM_MEET();
    FN(unit_mix)
    ((ACT *)a->out + first * d + (long)h * a->hd, scratch, q + 2 * d, d, 3 * d, kind, u, a->hd,
        false, lane);
}

/* `many` channels of nine rows become their means. */
TRM_INLINE void FN(average)(ACT *h, const int row[9], int n, int many, int lane) {
    for (int c = lane; c < many; c += TRM_LANES) {
        float sum = 0;
        for (int i = 0; i < 9; i++)
            sum += GET(h[(long)row[i] * n + c]);
        for (int i = 0; i < 9; i++)
            h[(long)row[i] * n + c] = PUT(sum * (1.0f / 9.0f));
    }
}

TRM_BODY FN(unit_means)(const trm_k_unit_means *a, long item, int lane, float *scratch) {
    int row[9], kind = (int)(item / 9 % 3), third = a->n / 3;
    (void)scratch;
    trm_unit_cells(row, kind, (int)(item % 9));
    FN(average)((ACT *)a->h + item / 27 * 81 * a->n + (long)kind * third, row, a->n, third, lane);
}

TRM_BODY FN(candidate_means)(const trm_k_candidate_means *a, long item, int lane, float *scratch) {
    int row[9], kind = (int)(item / 81 % 4), quarter = a->n / 4;
    ACT *h = (ACT *)a->h + item / 324 * 729 * a->n + (long)kind * quarter;
    (void)scratch;
    trm_unit_candidates(row, kind, (int)(item % 81));
    FN(average)(h, row, a->n, quarter, lane);
}

TRM_BODY FN(shift)(const trm_k_shift *a, long row, int lane, float *scratch) {
    int i, p, quarter = a->n / 4;
    (void)scratch;
    place_of(a->shape, row, &i, &p);
    int slot = a->list[i];
    for (int c = lane; c < a->n; c += TRM_LANES) {
        int way = a->back ? 3 - c / quarter : c / quarter;
        int from = slot < 0 ? -1 : a->near[slot * a->near_stride + (long)way * a->max_s + p];
        ((ACT *)a->out)[row * a->n + c] =
            from < 0 ? PUT(0.0f) : ((const ACT *)a->in)[(row + from - p) * a->n + c];
    }
}

/* The weight of a cell's own value against its neighbour's. */
TRM_INLINE float FN(near_weight)(
    const ACT *q, const ACT *own, const ACT *other, int hd, float scale, int lane) {
    float sum = 0;
    for (int c = lane; c < hd; c += TRM_LANES)
        sum += GET(q[c]) * (GET(own[c]) - GET(other[c]));
    return 1.0f / (1.0f + expf(-scale * lanes_sum(sum)));
}

TRM_BODY FN(near)(const trm_k_near *a, long item, int lane, float *scratch) {
    int i, p, h = (int)(item % a->heads), d = a->heads * a->hd;
    long row = item / a->heads;
    (void)scratch;
    place_of(a->shape, row, &i, &p);
    int slot = a->list[i];
    int n = slot < 0 ? -1 : a->near[slot * a->near_stride + (long)(h % 4) * a->max_s + p];
    const ACT *q = (const ACT *)a->qkv + row * 3 * d + (long)h * a->hd, *v = q + 2 * d;
    ACT *o = (ACT *)a->out + row * d + (long)h * a->hd;
    if (n < 0) {
        for (int c = lane; c < a->hd; c += TRM_LANES)
            o[c] = v[c];
        return;
    }
    const ACT *k = q + (long)(n - p) * 3 * d + d;
    float w = FN(near_weight)(q, q + d, k, a->hd, a->scale, lane);
    for (int c = lane; c < a->hd; c += TRM_LANES)
        o[c] = PUT(GET(k[d + c]) + w * (GET(v[c]) - GET(k[d + c])));
}

TRM_BODY FN(to_act)(const trm_k_to_act *a, long item, int lane, float *scratch) {
    long row = item / a->chunks;
    int first = (int)(item % a->chunks) * TRM_CHUNK;
    int end = first + TRM_CHUNK < a->ld ? first + TRM_CHUNK : a->ld;
    (void)scratch;
    for (int i = first + lane; i < end; i += TRM_LANES)
        ((ACT *)a->out)[row * a->ld + i] = PUT(i < a->cols ? a->in[row * a->cols + i] : 0.0f);
}
