/* limit_private.h: what the files of limit ask of each other. */
#ifndef LIMIT_PRIVATE_H
#define LIMIT_PRIVATE_H

#include "../include/meterplex.h"
#include "../include/meterplex_limit.h"
#include "../lib/mpx_cells.h"

#include "ap_expr.h"
#include "http_log.h"

APLOG_USE_MODULE(meterplex_limit);

typedef enum limit_by { LIMIT_BY_IP, LIMIT_BY_KEY, LIMIT_BY_USER, LIMIT_BY_TENANT, LIMIT_BY_EXPR } limit_by_e;

/* One MeterplexRateLimit line. */
typedef struct limit_policy {
    limit_by_e by;
    mpx_rate_t rate;
    const char *name;          /* as sent in the RateLimit fields */
    const char *base;          /* the same, as its section has it: behind another of that name it gets a number */
    unsigned char zone[16];    /* who shares a counter: policies of one zone do. A digest of its name */
    ap_expr_info_t *subject;   /* LIMIT_BY_EXPR */
    ap_expr_info_t *cost;      /* or NULL: 1 */
} limit_policy_t;

typedef struct limit_dir {
    apr_array_header_t *policies;   /* limit_policy_t *, or NULL; this section's own and, merged, the inherited before it */
    int none;                       /* "none": inherited ones are off */
} limit_dir_t;

extern const command_rec limit_directives[];
void *limit_create_dir_config(apr_pool_t *pool, char *path);
void *limit_merge_dir_config(apr_pool_t *pool, void *base, void *add);

/* Shared memory and metrics; post_config. */
int limit_open(apr_pool_t *pconf, server_rec *s);
void limit_want(void); /* pre_config */
void limit_config_reset(apr_pool_t *pconf); /* pre_config */

/* Hooks. */
int limit_check_access(request_rec *r);                       /* by ip, before any credential is read */
int limit_fixups(request_rec *r);                             /* the others, on gated locations */
int limit_fixups_last(request_rec *r);                        /* and for the page that mod_dir has chosen instead */
int limit_handler(request_rec *r);                            /* just before core's: is this request to come again? */
int limit_admit(request_rec *r, mpx_request_t *request);      /* admission (mpx_admit_fn) */
int mpx_limit_key(request_rec *r, const mpx_principal_t *principal, apr_uint64_t cost, mpx_gcra_t *out);

#endif
