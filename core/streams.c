/* See trm/streams.h. */
#include <fcntl.h>
#include <stdbool.h>

#include "trm/streams.h"

void trm_streams_hold(void) {
    bool held = true;
    for (int fd = 0; fd < 3 && held; fd++) /* the lowest free number is the next one's */
        held = fcntl(fd, F_GETFD) >= 0 || open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) == fd;
}
