/* See map.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "map.h"

/* Fresh pages, read-only once they are filled. NULL with errno; 0 = the file ended early. */
static void *read_all(int fd, size_t size) {
    size_t n = 0;
    char *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return NULL;
    while (n < size) {
        ssize_t k = read(fd, data + n, size - n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            int e = k < 0 ? errno : 0;
            (void)munmap(data, size);
            errno = e;
            return NULL;
        }
        n += (size_t)k;
    }
    (void)mprotect(data, size, PROT_READ);
    return data;
}

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
    void *data = read_all(fd, (size_t)st.st_size);
    int e = errno;
    (void)close(fd);
    if (!data)
        return trm_fail(
            err, TRM_E_IO, "%s: %s", path, e ? strerror(e) : "became shorter while it was read");
    *out = (trm_map){data, (size_t)st.st_size};
    return TRM_OK;
}

void trm_map_close(trm_map *m) {
    if (m->data)
        (void)munmap(m->data, m->size);
    *m = (trm_map){NULL, 0};
}
