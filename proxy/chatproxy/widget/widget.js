"use strict";
// Loads the chat of version __VERSION__.
