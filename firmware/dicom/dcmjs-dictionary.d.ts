declare module 'dcmjs/dictionary' {
  export const dictionary: Readonly<Record<string, { readonly vr: string }>>
}
