/* The OpenAPI document, embedded from openapi.json. Static bytes. */
#include "proto/answer.h"

extern const unsigned char trmp_openapi_json[];
extern const size_t trmp_openapi_json_size;

const char *trmp_openapi(size_t *size) {
    *size = trmp_openapi_json_size;
    return (const char *)trmp_openapi_json;
}
