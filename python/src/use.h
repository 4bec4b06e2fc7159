#pragma once

#include "error.h"

namespace rapt::python {

/// Who uses an object that several threads may not use as they like: any number of calls that read
/// it, or one that changes it. Taken and given back with the GIL held.
class Use {
 public:
  class Reading {
   public:
    /// @throws Error{kBadArgument} starting with `where` while a call changes the object.
    Reading(Use& use, const char* where) : use_(use) {
      if (use.changing_) refuse(where);
      ++use.readers_;
    }
    ~Reading() { --use_.readers_; }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

   private:
    Use& use_;
  };

  class Changing {
   public:
    /// @throws Error{kBadArgument} starting with `where` while any call uses the object.
    Changing(Use& use, const char* where) : use_(use) {
      if (use.changing_ || use.readers_ > 0) refuse(where);
      use.changing_ = true;
    }
    ~Changing() { use_.changing_ = false; }
    Changing(const Changing&) = delete;
    Changing& operator=(const Changing&) = delete;

   private:
    Use& use_;
  };

 private:
  [[noreturn]] static void refuse(const char* where) {
    python::refuse(where, "no other call that uses it at the same time", "one in another thread");
  }

  int readers_ = 0;
  bool changing_ = false;
};

}  // namespace rapt::python
