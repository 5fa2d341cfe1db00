/* The three standard streams of a program that was started with fewer. No state. */
#ifndef TRM_STREAMS_H
#define TRM_STREAMS_H

#include "trm/error.h"

/* To be called before anything is opened: a stream that is closed would give its number to the
 * next file or socket, which then got what is printed. It stays one that cannot be used. */
TRM_API void trm_streams_hold(void);

#endif
