/**
 * Who wrote it: what every association and every Part 10 file of ours says about itself
 * (PS3.7 D.3.3.2, PS3.10 7.1).
 */

/** A UUID-derived UID (PS3.5 B.2), made once for this product and never changed. */
export const IMPLEMENTATION_CLASS_UID = '2.25.245346905418995307660720204728686516223'

/** Implementation Version Name, SH, at most 16 characters. */
export const IMPLEMENTATION_VERSION_NAME = 'SALLYPORT_0_1'
