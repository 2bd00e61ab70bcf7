/* usage_capture.h: MeterplexMeter: finished requests become usage, by way of a counter file that outlives every process. */
#ifndef USAGE_CAPTURE_H
#define USAGE_CAPTURE_H

#include "../include/meterplex.h"

#include "ap_expr.h"

/* One MeterplexMeter line. */
typedef struct capture_meter {
    const char *type;               /* event type */
    ap_expr_info_t *value, *subject, *when; /* or NULL */
    apr_array_header_t *props;      /* capture_prop_t, or NULL */
    int by_bytes;                   /* an expression asks how much was sent */
} capture_meter_t;

typedef struct capture_prop {
    const char *name;
    ap_expr_info_t *value;
} capture_prop_t;

typedef struct capture_dir {
    apr_array_header_t *meters;     /* capture_meter_t *: inherited ones, then the section's own; or NULL */
    int none;                       /* "none": inherited ones are off */
} capture_dir_t;

/* Directives MeterplexMeter and MeterplexCounters, as an array ended by a NULL name; for the room's command table. */
extern const command_rec usage_capture_directives[];
void *usage_capture_create_dir_config(apr_pool_t *pool, char *path);
void *usage_capture_merge_dir_config(apr_pool_t *pool, void *base, void *add);

/* post_config: maps the counter file, registers metrics, health and the flush job. */
int usage_capture_open(apr_pool_t *pconf, server_rec *s);

/* Hooks: fixups mark what is let through; an output filter counts it, or log_transaction; expression variables
 * METERPLEX_*. */
void usage_capture_register_hooks(apr_pool_t *pool);

/* --- Between usage_capture.c and usage_counters.c --------------------------------------------------------------------------- */

/* Open or make STATE_DIR/counters and map it. @return OK, or HTTP_INTERNAL_SERVER_ERROR after a log line */
int usage_counters_open(apr_pool_t *pconf, server_rec *s, apr_size_t size);
/* Bytes that data may have beside a type and a subject. */
apr_size_t usage_counters_room(const char *type, const char *subject);
/* Count one request. Any thread; no I/O. @param subject or NULL @param data JSON object text or NULL */
void usage_counters_add(const mpx_uuid_t *tenant, const char *type, const char *subject, const char *data);

#endif
