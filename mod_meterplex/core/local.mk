# core: libmpx_db.la is the part without httpd (meterplexctl links it too), libmpx_core.la the part with it,
# mod_meterplex.so both and the composition root.
noinst_LTLIBRARIES += libmpx_db.la libmpx_core.la
libmpx_db_la_SOURCES = \
	mod_meterplex/core/core_append.c \
	mod_meterplex/core/core_call.c \
	mod_meterplex/core/core_path.c \
	mod_meterplex/core/core_path.h \
	mod_meterplex/core/core_problem_model.c \
	mod_meterplex/core/core_rootkey.c \
	mod_meterplex/core/core_state.c \
	mod_meterplex/core/core_state.h \
	mod_meterplex/core/core_db.c \
	mod_meterplex/core/core_db.h \
	mod_meterplex/core/core_db_param.c \
	mod_meterplex/core/core_db_problem.c \
	mod_meterplex/core/core_db_single.c \
	mod_meterplex/core/core_tx.c \
	mod_meterplex/core/core_tx.h

libmpx_core_la_SOURCES = \
	mod_meterplex/core/core_access_log.c \
	mod_meterplex/core/core_body.c \
	mod_meterplex/core/core_http.c \
	mod_meterplex/core/core_idempotency.c \
	mod_meterplex/core/core_problem.c \
	mod_meterplex/core/core_request.c \
	mod_meterplex/core/core_rootkey_watch.c \
	mod_meterplex/core/core_router.c \
	mod_meterplex/core/core_config.c \
	mod_meterplex/core/core_db_config.c \
	mod_meterplex/core/core_db_listen.c \
	mod_meterplex/core/core_db_pool.c \
	mod_meterplex/core/core_db_pool.h \
	mod_meterplex/core/core_db_pulse.c \
	mod_meterplex/core/core_health.c \
	mod_meterplex/core/core_held.c \
	mod_meterplex/core/core_jobs.c \
	mod_meterplex/core/core_metrics.c \
	mod_meterplex/core/core_private.h \
	mod_meterplex/core/core_purge.c \
	mod_meterplex/core/core_shm.c

BUILT_SOURCES += mod_meterplex/core/core_sql.h
CLEANFILES += mod_meterplex/core/core_sql.h
EXTRA_DIST += mod_meterplex/core/core.sql

module_LTLIBRARIES += mod_meterplex.la
mod_meterplex_la_SOURCES = mod_meterplex/core/mod_meterplex.c
mod_meterplex_la_LDFLAGS = $(MODULE_LDFLAGS)
mod_meterplex_la_LIBADD = libmpx_core.la libmpx_db.la libmpx_lib.la $(PQ_LIBS) $(SODIUM_LIBS)
