// The update rules, two phases each, on a block of a tensor. Formulas and symbols are those of the Python modules.
#pragma once
#include "digrap.h"
#include "ftp.h"
#include "penalties.h"
#include "spd.h"
