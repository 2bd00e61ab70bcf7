/* observe_private.h: what the files of observe ask of each other. */
#ifndef OBSERVE_PRIVATE_H
#define OBSERVE_PRIVATE_H

#include "../include/meterplex.h"

#include "http_log.h"

APLOG_USE_MODULE(meterplex_observe);

apr_status_t observe_get_live(mpx_http_t *http);
apr_status_t observe_get_ready(mpx_http_t *http);
apr_status_t observe_get_health(mpx_http_t *http);
apr_status_t observe_get_metrics(mpx_http_t *http);
apr_status_t observe_get_openapi(mpx_http_t *http);

/* Directive MeterplexOpenAPI; the document is read in post_config. */
extern const command_rec observe_directives[];
void observe_openapi_reset(void);
int observe_openapi_open(apr_pool_t *pconf, server_rec *s);

/* Metrics of finished requests. */
int observe_requests_open(apr_pool_t *pconf, server_rec *s);
int observe_log_transaction(request_rec *r);

#endif
