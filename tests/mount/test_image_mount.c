/*
 * test_image_mount: a tree, mounted for real: what programs see of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem.h"
#include "n_threads.h"
#include "tree_fixture.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

static struct image_mount *mounted(struct fixture *f)
{
	struct image_mount *m = NULL;
	struct err e = { 0 };

	assert_int_equal(mount_start(f, f->dir, &m, &e), 0);
	return m;
}

static void stop(struct fixture *f, struct image_mount *m)
{
	assert_int_equal(mount_stop(f, m, false), 0);
}

static void files_and_links_are_as_the_image_says(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	AUTO(free_str) char *hello = path_of(f, "hello");
	AUTO(free_str) char *link = path_of(f, "link");
	char text[32] = "";
	struct stat st;
	int fd;

	assert_int_equal(stat(hello, &st), 0);
	assert_int_equal(st.st_size, strlen(FAKE_HELLO));
	assert_int_equal(st.st_mode, S_IFREG | 0644);
	assert_int_equal(st.st_mtim.tv_sec, 1234);
	assert_int_equal(st.st_mtim.tv_nsec, 5678);
	assert_int_equal(readlink(link, text, sizeof(text)), 5);
	assert_string_equal(text, "hello");
	memset(text, 0, sizeof(text));
	fd = open(link, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, text, sizeof(text)), strlen(FAKE_HELLO));
	assert_string_equal(text, FAKE_HELLO);
	close_fd(&fd);
	stop(f, m);
}

static void a_large_file_is_right_byte_by_byte(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	AUTO(free_str) char *big = path_of(f, "big");
	bool right = false;

	assert_int_equal(read_big(big, &right), FAKE_BIG_BYTES);
	assert_true(right);
	stop(f, m);
}

static void holes_are_zeros(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	AUTO(free_str) char *path = path_of(f, "zeros");
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *bytes = xcalloc(1, FAKE_ZEROS_BYTES);
	uint8_t any = 0;

	memset(bytes, 1, FAKE_ZEROS_BYTES);
	assert_int_equal(read(fd, bytes, FAKE_ZEROS_BYTES), FAKE_ZEROS_BYTES);
	for (uint32_t i = 0; i < FAKE_ZEROS_BYTES; i++)
		any |= bytes[i];
	assert_int_equal(any, 0);
	free(bytes);
	close_fd(&fd);
	stop(f, m);
}

static void a_file_can_be_mapped(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	AUTO(free_str) char *path = path_of(f, "big");
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *p = mmap(NULL, FAKE_BIG_BYTES, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	bool right = true;

	assert_ptr_not_equal(p, MAP_FAILED);
	for (uint32_t i = 0; i < FAKE_BIG_BYTES; i += 4097)
		right = right && p[i] == fake_byte(i);
	assert_true(right);
	(void)munmap(p, FAKE_BIG_BYTES);
	close_fd(&fd);
	stop(f, m);
}

static uint32_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *d;
	uint32_t n = 0;

	assert_non_null(dir);
	while ((d = readdir(dir)) != NULL) { /* NOLINT(concurrency-mt-unsafe): our own dir */
		char expected[32];

		if (d->d_name[0] == '.')
			continue;
		(void)snprintf(expected, sizeof(expected), "e%04u", n);
		assert_string_equal(d->d_name, expected);
		n++;
	}
	(void)closedir(dir);
	return n;
}

static void a_directory_of_thousands_is_listed_once_each(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	AUTO(free_str) char *dir = path_of(f, "dir");

	assert_int_equal(count_entries(dir), FAKE_DIR_ENTRIES);
	assert_int_equal(count_entries(dir), FAKE_DIR_ENTRIES);
	stop(f, m);
}

static void listing_makes_lookups_needless(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	AUTO(free_str) char *dir = path_of(f, "dir");
	struct stat st;
	uint32_t n_before;

	(void)count_entries(dir);
	n_before = atomic_load(&f->counts.n_lookups);
	for (uint32_t i = 0; i < FAKE_DIR_ENTRIES; i++) {
		AUTO(free_str) char *path = xasprintf("%s/e%04u", dir, i);

		assert_int_equal(lstat(path, &st), 0);
	}
	assert_int_equal(atomic_load(&f->counts.n_lookups), n_before);
	stop(f, m);
}

static void a_name_that_is_longer_than_any_can_be_is_refused_as_too_long(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	char name[257];
	struct stat st;

	memset(name, 'a', sizeof(name) - 1);
	for (size_t n = 255; n <= 256; n++) {
		AUTO(free_str) char *path = NULL;

		name[n] = '\0';
		path = path_of(f, name);
		assert_int_equal(stat(path, &st), -1);
		assert_int_equal(errno, n == 255 ? ENOENT : ENAMETOOLONG);
		name[n] = 'a';
	}
	stop(f, m);
}

static void a_name_that_is_not_there_is_asked_for_once(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	AUTO(free_str) char *path = path_of(f, "nothing");
	const uint32_t n_before = atomic_load(&f->counts.n_lookups);
	struct stat st;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(stat(path, &st), -1);
		assert_int_equal(errno, ENOENT);
	}
	assert_int_equal(atomic_load(&f->counts.n_lookups), n_before + 1);
	stop(f, m);
}

/* Locked: the kernel may want the memory back meanwhile, and opening anew must not take it. */
static void *lock_file(const char *path)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *p = mmap(NULL, FAKE_BIG_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(mlock(p, FAKE_BIG_BYTES), 0);
	return p;
}

static void bytes_once_read_stay_with_the_kernel(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	AUTO(free_str) char *path = path_of(f, "big");
	bool right = false;
	uint32_t n_before;
	void *locked;

	assert_int_equal(read_big(path, &right), FAKE_BIG_BYTES);
	locked = lock_file(path);
	n_before = fake_fetch_n_reads(&f->fetch);
	assert_int_equal(read_big(path, &right), FAKE_BIG_BYTES); /* opened anew */
	assert_int_equal(fake_fetch_n_reads(&f->fetch), n_before);
	assert_int_equal(munmap(locked, FAKE_BIG_BYTES), 0);
	stop(f, m);
}

static void xattrs_are_told_with_their_sizes(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	AUTO(free_str) char *path = path_of(f, "xattrs");
	char value[64];

	assert_int_equal(getxattr(path, "user.colour", value, sizeof(value)), 4);
	assert_memory_equal(value, "blue", 4);
	assert_int_equal(getxattr(path, "user.colour", NULL, 0), 4);
	assert_int_equal(getxattr(path, "user.empty", value, sizeof(value)), 0);
	assert_int_equal(getxattr(path, "trusted.shoal", value, sizeof(value)), 9);
	assert_int_equal(getxattr(path, "user.colour", value, 3), -1);
	assert_int_equal(errno, ERANGE);
	assert_int_equal(getxattr(path, "user.none", value, sizeof(value)), -1);
	assert_int_equal(errno, ENODATA);
	assert_int_equal(listxattr(path, NULL, 0), 12 + 11 + 14);
	assert_int_equal(listxattr(path, value, sizeof(value)), 12 + 11 + 14);
	assert_string_equal(value, "user.colour");
	assert_int_equal(listxattr(path, value, 5), -1);
	assert_int_equal(errno, ERANGE);
	stop(f, m);
}

static void an_image_without_xattrs_is_not_asked_for_them(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m;
	AUTO(free_str) char *path = path_of(f, "hello");
	char value[8];

	f->image.flags = 0;
	m = mounted(f);
	assert_int_equal(getxattr(path, "user.none", value, sizeof(value)), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_int_equal(atomic_load(&f->counts.n_xattr_asked), 0);
	stop(f, m);
}

static void what_is_broken_is_an_io_error_and_the_rest_is_not(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	AUTO(free_str) char *broken = path_of(f, "broken");
	AUTO(free_str) char *unmapped = path_of(f, "unmapped");
	AUTO(free_str) char *hello = path_of(f, "hello");
	struct stat st;
	bool right;

	assert_int_equal(stat(broken, &st), -1);
	assert_int_equal(errno, EIO);
	assert_int_equal(read_big(unmapped, &right), -EIO);
	assert_int_equal(stat(hello, &st), 0);
	stop(f, m);
}

static void the_mount_is_read_only_and_without_suid_and_devices(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	AUTO(free_str) char *path = path_of(f, "new");
	struct statvfs st;

	assert_int_equal(statvfs(f->dir, &st), 0);
	assert_int_equal(st.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV),
	                 ST_RDONLY | ST_NOSUID | ST_NODEV);
	assert_true(st.f_blocks * st.f_frsize >= FAKE_BIG_BYTES);
	assert_true(st.f_files >= FAKE_DIR_ENTRIES);
	assert_int_equal(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);
	assert_int_equal(errno, EROFS);
	stop(f, m);
}

static void reads_are_counted_by_where_bytes_were_found(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	AUTO(free_str) char *path = path_of(f, "hello");
	const char *const cache[] = { "cache", "registry.test/fake:1" };
	char text[32];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(read(fd, text, sizeof(text)), strlen(FAKE_HELLO));
	close_fd(&fd);
	stop(f, m);
	assert_int_equal(series_get(metrics_series(f->metrics, METRIC_READ_BYTES, cache)),
	                 strlen(FAKE_HELLO));
}

/* As the lower directory of containers: read through it, copied up from it, opaque where it says
 * so. */
static void overlayfs_stands_on_it(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	char base[] = "/tmp/shoal-overlay-XXXXXX";
	AUTO(free_str) char *options = NULL;
	AUTO(free_str) char *merged = NULL;
	AUTO(free_str) char *big = NULL;
	AUTO(free_str) char *upper = NULL;
	struct stat st;
	bool right = false;
	int fd;

	assert_non_null(mkdtemp(base));
	assert_int_equal(mount("tmpfs", base, "tmpfs", 0, NULL), 0);
	merged = xasprintf("%s/merged", base);
	upper = xasprintf("%s/upper", base);
	big = xasprintf("%s/big", merged);
	options = xasprintf("%s/work", base);
	assert_int_equal(mkdir(merged, 0755) | mkdir(upper, 0755) | mkdir(options, 0755), 0);
	free_str(&options);
	options = xasprintf("lowerdir=%s,upperdir=%s,workdir=%s/work", f->dir, upper, base);
	assert_int_equal(mount("overlay", merged, "overlay", 0, options), 0);

	assert_int_equal(read_big(big, &right), FAKE_BIG_BYTES);
	assert_true(right);
	fd = open(big, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(write(fd, "!", 1), 1);
	close_fd(&fd);
	assert_int_equal(stat(big, &st), 0);
	assert_int_equal(st.st_size, FAKE_BIG_BYTES + 1);

	assert_int_equal(umount2(merged, 0), 0);
	assert_int_equal(umount2(base, 0), 0);
	assert_int_equal(rmdir(base), 0);
	stop(f, m);
}

static void directories_that_cannot_be_mounted_on_are_refused(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = NULL;
	struct err e = { 0 };

	assert_int_equal(mount_start(f, "relative/dir", &m, &e), -EINVAL);
	assert_int_equal(mount_start(f, "/tmp/shoal-test-there-is-none", &m, &e), -ENOENT);
	assert_int_equal(mount_start(f, "/etc/passwd", &m, &e), -ENOTDIR);
	assert_null(m);
}

static void a_dead_mount_on_the_directory_is_cleared_away(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m;
	AUTO(free_str) char *options = NULL;
	AUTO(free_str) char *hello = path_of(f, "hello");
	struct stat st;
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	options = xasprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	assert_int_equal(mount("dead", f->dir, "fuse", 0, options), 0);
	close_fd(&fd); /* as when the daemon is killed */
	assert_int_equal(stat(f->dir, &st), -1);
	assert_int_equal(errno, ENOTCONN);
	m = mounted(f);
	assert_int_equal(stat(hello, &st), 0);
	stop(f, m);
	assert_int_equal(stat(hello, &st), -1);
	assert_int_equal(errno, ENOENT);
}

static void a_hundred_mounts_need_no_more_threads(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *mounts[100];
	char *dirs[100];
	struct err e = { 0 };
	const uint32_t n_before = n_threads();
	char base[] = "/tmp/shoal-hundred-XXXXXX";

	assert_non_null(mkdtemp(base));
	for (int i = 0; i < 100; i++) {
		AUTO(free_str) char *hello = NULL;
		struct stat st;

		dirs[i] = xasprintf("%s/%d", base, i);
		assert_int_equal(mkdir(dirs[i], 0700), 0);
		assert_int_equal(mount_start(f, dirs[i], &mounts[i], &e), 0);
		hello = xasprintf("%s/hello", dirs[i]);
		assert_int_equal(stat(hello, &st), 0);
	}
	assert_int_equal(n_threads(), n_before);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(mount_stop(f, mounts[i], false), 0);
		assert_int_equal(rmdir(dirs[i]), 0);
		free(dirs[i]);
	}
	assert_int_equal(rmdir(base), 0);
}

#define MOUNT_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_up, fixture_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MOUNT_TEST(files_and_links_are_as_the_image_says),
		MOUNT_TEST(a_large_file_is_right_byte_by_byte),
		MOUNT_TEST(holes_are_zeros),
		MOUNT_TEST(a_file_can_be_mapped),
		MOUNT_TEST(a_directory_of_thousands_is_listed_once_each),
		MOUNT_TEST(listing_makes_lookups_needless),
		MOUNT_TEST(a_name_that_is_longer_than_any_can_be_is_refused_as_too_long),
		MOUNT_TEST(a_name_that_is_not_there_is_asked_for_once),
		MOUNT_TEST(bytes_once_read_stay_with_the_kernel),
		MOUNT_TEST(xattrs_are_told_with_their_sizes),
		MOUNT_TEST(an_image_without_xattrs_is_not_asked_for_them),
		MOUNT_TEST(what_is_broken_is_an_io_error_and_the_rest_is_not),
		MOUNT_TEST(the_mount_is_read_only_and_without_suid_and_devices),
		MOUNT_TEST(reads_are_counted_by_where_bytes_were_found),
		MOUNT_TEST(overlayfs_stands_on_it),
		MOUNT_TEST(directories_that_cannot_be_mounted_on_are_refused),
		MOUNT_TEST(a_dead_mount_on_the_directory_is_cleared_away),
		MOUNT_TEST(a_hundred_mounts_need_no_more_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
