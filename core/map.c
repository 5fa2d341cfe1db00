/* See map.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "map.h"

int trm_map_open(trm_map *out, const char *path, trm_error *err) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        int e = errno;
        if (fd >= 0)
            (void)close(fd);
        return trm_fail(err, TRM_E_IO, "%s: %s", path, strerror(e));
    }
    if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        (void)close(fd);
        return trm_fail(err, TRM_E_FORMAT, "%s: not a file with anything in it", path);
    }
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    int e = errno;
    (void)close(fd);
    if (data == MAP_FAILED)
        return trm_fail(err, TRM_E_IO, "%s: %s", path, strerror(e));
    *out = (trm_map){data, (size_t)st.st_size};
    return TRM_OK;
}

void trm_map_close(trm_map *m) {
    if (m->data)
        (void)munmap(m->data, m->size);
    *m = (trm_map){NULL, 0};
}
