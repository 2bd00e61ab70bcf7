/* usage_private.h: what the httpd files of usage ask of each other. */
#ifndef USAGE_PRIVATE_H
#define USAGE_PRIVATE_H

#include "../include/meterplex.h"

#include "http_log.h"

APLOG_USE_MODULE(meterplex_usage);

extern const mpx_route_t usage_event_routes[];
extern const mpx_route_t usage_meter_routes[];
void usage_jobs_open(void);       /* post_config */
void usage_purge_register(void); /* register_hooks: what leaves with a tenant */

#endif
