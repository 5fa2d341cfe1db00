/* How many threads are worth starting here. No state; any thread. */
#ifndef TRM_CPUS_H
#define TRM_CPUS_H

#include "trm/error.h"

/* Processors this process may use, at least 1: the affinity mask, cut down by the CPU quota
 * of its cgroup (version 1 or 2, rounded up) where a container set one. */
TRM_API int trm_cpus(void);
/* The same with another place for /proc and /sys, so that tests can set quotas; "" is here. */
TRM_API int trm_cpus_under(const char *root);

#endif
