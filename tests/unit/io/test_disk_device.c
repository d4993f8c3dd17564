/* test_disk_device.c - the real disk on a block device: a loop device over a file. Needs root and the loop driver. */
#include "disk_test.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

static int device = -1;
static char device_path[32];

/* A free loop device over fd. Others may take it in between: then the next one. -1: none can be had here. */
static int attach_loop(int fd)
{
	/* Detached with the last close, so that a test that dies leaves nothing. */
	struct loop_config config = {.fd = (uint32_t)fd, .info.lo_flags = LO_FLAGS_AUTOCLEAR};

	for (unsigned tries = 0; tries < 20; tries++) {
		int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
		int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
		int loop_fd;

		if (control >= 0)
			close(control);
		if (number < 0)
			return -1;
		snprintf(device_path, sizeof device_path, "/dev/loop%d", number);
		loop_fd = open(device_path, O_RDWR | O_CLOEXEC);
		if (loop_fd < 0)
			return -1;
		if (ioctl(loop_fd, LOOP_CONFIGURE, &config) == 0)
			return loop_fd;
		close(loop_fd);
	}
	return -1;
}

static bool can_have_devices(void)
{
	char name[] = "/var/tmp/copyhold-test-XXXXXX";
	int fd = mkstemp(name);
	int loop_fd;

	if (fd < 0)
		return false;
	unlink(name);
	loop_fd = ftruncate(fd, (off_t)MIB) == 0 ? attach_loop(fd) : -1;
	close(fd);
	if (loop_fd < 0)
		return false;
	close(loop_fd);
	return true;
}

static void setup(void)
{
	int fd;

	disk_setup();
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	device = attach_loop(fd);
	ck_assert_int_ge(device, 0);
	close(fd);
	open_disk(device_path, false, false);
}

static void teardown(void)
{
	disk_teardown();
	close(device);
}

START_TEST(a_device_knows_its_sizes)
{
	ck_assert_uint_eq(disk->size_bytes, DISK_BYTES);
	ck_assert_uint_eq(disk->block_bytes, 512);
	ck_assert(!disk->power_loss_protected);
}
END_TEST

START_TEST(a_device_reads_what_was_written)
{
	uint8_t *back = data + DISK_BYTES;

	ck_assert_int_eq(run(IO_DISK_WRITE, 0, 0, MIB, data, 3), 0);
	ck_assert_int_eq(run(IO_DISK_WRITE, IO_DISK_DURABLE, MIB, MIB, data + MIB, 1), 0);
	ck_assert_int_eq(run(IO_DISK_SYNC, 0, 0, 0, NULL, 1), 0);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, 2 * MIB, back, 2), 0);
	ck_assert(memcmp(data, back, 2 * MIB) == 0);
	ck_assert_int_eq(run(IO_DISK_READ, 0, DISK_BYTES, 512, back, 1), -EINVAL);
}
END_TEST

START_TEST(a_device_takes_discards)
{
	uint8_t *back = data + DISK_BYTES;

	ck_assert_int_eq(run(IO_DISK_WRITE, 0, 0, MIB, data, 1), 0);
	ck_assert_int_eq(run(IO_DISK_DISCARD, 0, 64 * KIB, 64 * KIB, NULL, 1), 0);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, MIB, back, 1), 0);
	ck_assert(memcmp(data, back, 64 * KIB) == 0);
	ck_assert(memcmp(data + 128 * KIB, back + 128 * KIB, MIB - 128 * KIB) == 0);
}
END_TEST

START_TEST(power_loss_protection_is_the_operators_word)
{
	uint8_t *back = data + DISK_BYTES;

	io_uring_disk_close(disk);
	open_disk(device_path, true, false);
	ck_assert(disk->power_loss_protected);
	ck_assert_int_eq(run(IO_DISK_WRITE, IO_DISK_DURABLE, 0, MIB, data, 1), 0);
	ck_assert_int_eq(run(IO_DISK_SYNC, 0, 0, 0, NULL, 1), 0);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, MIB, back, 1), 0);
	ck_assert(memcmp(data, back, MIB) == 0);
}
END_TEST

START_TEST(a_device_is_opened_once)
{
	char why[IO_URING_WHY_BYTES] = "";

	ck_assert_int_eq(try_open(device_path, false, why), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why, device_path));
	ck_assert_int_eq(try_open(device_path, true, why), -EBUSY);
}
END_TEST

START_TEST(zeros_are_written_to_a_device)
{
	uint8_t *back = data + DISK_BYTES;
	char why[IO_URING_WHY_BYTES] = "";

	ck_assert_int_eq(run(IO_DISK_WRITE, 0, 0, DISK_BYTES, data, 1), 0);
	io_uring_disk_close(disk);
	ck_assert_int_eq(io_uring_disk_write_zeros(device_path, MIB, MIB, NULL, NULL, why), 0);
	open_disk(device_path, false, false);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, DISK_BYTES, back, 1), 0);
	memset(data + MIB, 0, MIB);
	ck_assert(memcmp(data, back, DISK_BYTES) == 0);
}
END_TEST

/* So that the program is never without a check: what cannot be tried here is said. */
START_TEST(devices_can_be_had_or_it_is_said)
{
	if (!can_have_devices())
		fputs("no loop device can be had here: block devices were not tested\n", stderr);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("disk device");
	TCase *always = tcase_create("always"), *tcase = tcase_create("device");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(always, devices_can_be_had_or_it_is_said);
	suite_add_tcase(suite, always);
	tcase_set_timeout(tcase, HANG_S);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_device_knows_its_sizes);
	tcase_add_test(tcase, a_device_reads_what_was_written);
	tcase_add_test(tcase, a_device_takes_discards);
	tcase_add_test(tcase, power_loss_protection_is_the_operators_word);
	tcase_add_test(tcase, a_device_is_opened_once);
	tcase_add_test(tcase, zeros_are_written_to_a_device);
	suite_add_tcase(suite, tcase);
	tcase_set_tags(tcase, "device");
	srunner_run_tagged(runner, NULL, NULL, NULL, can_have_devices() ? NULL : "device",
			   CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
