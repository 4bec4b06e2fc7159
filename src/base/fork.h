#pragma once

namespace rapt {

/// From now on forks of this process are noticed.
void watch_forks();

/// Whether this process was forked from one that watched: of its threads only the one that forked
/// came along, and a pool that believes in the others would wait for them.
bool is_forked() noexcept;

}  // namespace rapt
