/* The other face: version 2 of the inference protocol of KServe and Triton, in JSON.
 *
 * A model of Sudokus or mazes has one input, `puzzle`: strings (datatype BYTES) as the first
 * face takes them, or for a Sudoku integers of shape [n,81] or [n,9,9]. Its outputs have n
 * elements each; `solution` has the input's datatype and shape. Options stand in `parameters`.
 * Requests become the same struct as in request.h. The protocol's binary tensors are an
 * extension that is not spoken here. Texts are malloc'd, NULL when out of memory.
 */
#ifndef TRMP_V2_H
#define TRMP_V2_H

#include "proto/answer.h"

/* As trmp_request_parse(); the model comes from the request's address. */
int trmp_v2_parse(trmp_request *out, trmp_kind kind, const char *model, const char *body,
    size_t size, const trmp_limits *limits, trmp_problem *problem);
/* The answer to r, whose r->n puzzles have the answers a. */
char *trmp_v2_answer_dump(const trmp_request *r, const trmp_answer *a);
char *trmp_v2_server_dump(const char *version);
char *trmp_v2_model_dump(const char *name);
/* {"live": ...} and the like; with `name` also that of the model. */
char *trmp_v2_state_dump(const char *name, const char *what, bool is);

#endif
