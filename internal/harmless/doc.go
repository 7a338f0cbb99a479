// Package harmless writes foreign text so that it shows what it is and does nothing
// else: what would be invisible, move a cursor, turn the direction of text or give an
// order to a CI platform is shown as a visible escape or broken. It promises to leave
// all other text as it is, to give valid UTF-8 for any bytes, and to take time that is
// linear in them.
package harmless
