/* The web page's files, compiled into the binary. Loop thread only. */
#ifndef TRMD_WEB_H
#define TRMD_WEB_H

#include "http.h"

typedef struct trmd_web_file {
    const char *path, *type, *etag;
    const unsigned char *bytes;
    size_t size;
} trmd_web_file;

/* NULL if no file is at this path; "/" is index.html. */
const trmd_web_file *trmd_web_find(const char *path);
enum MHD_Result trmd_web_answer(trmd_conn *k, const trmd_web_file *f);

/* Made by CMake from web/static: ended by an entry without a path. */
extern const trmd_web_file trmd_web_files[];

#endif
