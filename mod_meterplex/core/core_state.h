/* core_state.h: which state directory may be used; httpd and `meterplexctl doctor` judge alike. No httpd. */
#ifndef CORE_STATE_H
#define CORE_STATE_H

#include <apr_pools.h>

/* Is it there, can this process's user write to it, and can nobody else but root? The parent of a server opens files in it,
 * mostly as root: who could put a symbolic link in their place would choose what root writes to.
 * @return NULL, or what is wrong with it (a sentence that says what to do) */
const char *core_state_wrong(apr_pool_t *pool, const char *path);

#endif
