# libharness: a private PostgreSQL and a private httpd for the tests in t/api and t/fault
if TESTS_ENABLED
check_LTLIBRARIES += libharness.la
libharness_la_SOURCES = \
	t/harness/harness.h \
	t/harness/internal.h \
	t/harness/h_http.c \
	t/harness/h_httpd.c \
	t/harness/h_json.c \
	t/harness/h_main.c \
	t/harness/h_postgres.c \
	t/harness/h_process.c \
	t/harness/h_relay.c
libharness_la_CPPFLAGS = -D_GNU_SOURCE $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(CURL_CFLAGS) $(JANSSON_CFLAGS) \
	-DMPX_BUILDDIR='"$(abs_top_builddir)"' -DMPX_SRCDIR='"$(abs_top_srcdir)"' -DMPX_HTTPD='"$(HTTPD)"' \
	-DMPX_HTTPD_MODULEDIR='"$(HTTPD_MODULEDIR)"' -DMPX_PRELOAD='"$(SANITIZER_PRELOAD)"'
libharness_la_LIBADD = $(CHECK_LIBS) $(CURL_LIBS) $(JANSSON_LIBS) $(PQ_LIBS) $(APU_LIBS)
endif

CLEANFILES += t/pgtemplate.tar t/pgtemplate.tar.lock

EXTRA_DIST += t/harness/lsan.supp
